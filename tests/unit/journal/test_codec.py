import zlib
from dataclasses import replace

import pytest

from gateway.journal import codec
from tests.support.journal_batches import batch, noisy, odd_batches, source


def test_every_kind_of_batch_comes_back_equal() -> None:
    sources = codec.Sources()
    batches = odd_batches()
    again = codec.decode(codec.encode(batches, sources), sources)
    assert again == batches
    kinds = [[type(value) for value in each.values] for each in again]
    assert kinds == [[type(value) for value in each.values] for each in batches]


def test_batches_of_one_device_share_their_shape_also_with_those_that_were_written() -> None:
    sources = codec.Sources()
    written = [batch(1), batch(2)]
    assert written[0].shape is not written[1].shape
    first, second = codec.decode(codec.encode(written, sources), sources)
    assert first.shape is second.shape
    (third,) = codec.decode(codec.encode([batch(3)], sources), sources)
    assert third.shape is first.shape


def test_a_reader_that_has_only_the_stored_sources_understands() -> None:
    writer = codec.Sources()
    blob = codec.encode(odd_batches(), writer)
    reader = codec.Sources()
    for number, each in writer.unsaved.items():
        reader.add(number, codec.decode_source(codec.encode_source(each)))
    assert codec.decode(blob, reader) == odd_batches()


def test_a_new_source_is_unsaved_once() -> None:
    sources = codec.Sources()
    codec.encode([batch(1)], sources)
    assert list(sources.unsaved.values()) == [source()]
    sources.unsaved.clear()
    codec.encode([batch(2)], sources)
    assert sources.unsaved == {}


def test_the_number_of_a_damaged_source_is_not_given_again() -> None:
    sources = codec.Sources()
    sources.add(7, None)
    codec.encode([batch(1)], sources)
    assert list(sources.unsaved) == [8]


def test_unknown_source_is_an_error() -> None:
    blob = codec.encode([batch(1)], codec.Sources())
    with pytest.raises(codec.CodecError, match="source 1"):
        codec.decode(blob, codec.Sources())


def test_a_record_of_a_later_type_is_stepped_over() -> None:
    sources = codec.Sources()
    raw = bytearray(zlib.decompress(codec.encode([batch(1), batch(2)], sources), -15))
    at = raw.index(b"[80.4,1.0,null]") - codec._WHOLE.size
    assert raw[at] == codec.BATCH
    raw[at] = 99
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    assert codec.decode(packer.compress(bytes(raw)) + packer.flush(), sources) == [batch(2)]


def test_a_later_format_is_refused() -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    with pytest.raises(codec.CodecError, match="format 2"):
        codec.decode(packer.compress(b"\x02") + packer.flush(), codec.Sources())


def test_nonsense_is_a_codec_error_and_nothing_else() -> None:
    sources = codec.Sources()
    blob = codec.encode(noisy(3, 5), sources)
    for i in range(len(blob)):
        for damaged in (blob[:i], blob[:i] + bytes((blob[i] ^ 0x10,)) + blob[i + 1 :]):
            try:
                codec.decode(damaged, sources)
            except codec.CodecError:
                continue


def test_checksum_covers_numbers_and_bytes() -> None:
    blob = b"blob"
    assert codec.checksum((1, 2), blob) != codec.checksum((1, 3), blob)
    assert codec.checksum((1, 2), blob) != codec.checksum((1, 2), b"blub")
    assert codec.checksum((1, 2), blob) == zlib.crc32(b"\x01" + bytes(7) + b"\x02" + bytes(7) + blob)


def test_damaged_source_text_is_a_codec_error() -> None:
    text = codec.encode_source(source())
    for nonsense in (text[:-1], b"[]", b"{}", text.replace(b"float", b"flout"), text.replace(b"site", b"site2")):
        with pytest.raises(codec.CodecError):
            codec.decode_source(nonsense)


def test_equal_batches_make_equal_bytes() -> None:
    assert codec.encode([batch(1)], codec.Sources()) == codec.encode([replace(batch(1))], codec.Sources())
