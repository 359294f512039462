/* A second foreign Modbus implementation (modbus-serial) for the system tests, with the values of libmodbus_server.c.
 *
 * node server.js [EXCEPTION]: with an exception code, every request for holding registers from 900 on is refused.
 * Prints the port when it listens. Units 1 and 255 are there, for any other it says that it has no way to it.
 */
"use strict";

const { ServerTCP } = require("modbus-serial");

const refusal = Number(process.argv[2] || 0);
const holding = Buffer.alloc(2000);
const input = Buffer.alloc(1000);

holding.writeUInt16BE(65535, 0);
holding.writeInt16BE(-32768, 2);
holding.writeInt32BE(-123456789, 4);
holding.writeUInt32BE(4000000000, 8);
holding.writeBigInt64BE(-1234567890123456789n, 12);
holding.writeBigUInt64BE(9223372036854775807n, 20);
holding.writeFloatBE(80.4, 28);
holding.writeFloatLE(80.4, 32);
holding.writeFloatBE(80.4, 36);
holding.subarray(36, 40).swap16();
holding.writeFloatLE(80.4, 40);
holding.subarray(40, 44).swap16();
holding.writeDoubleBE(1 / 3, 44);
holding.writeUInt16BE(0x8001, 52);
holding.write("R-101 ok  ", 54, "latin1");
holding.writeFloatBE(NaN, 64);
holding.writeFloatBE(Infinity, 68);
holding.writeUInt16BE(0x8000, 72);
holding.writeBigUInt64BE(0xffffffffffffffffn, 74);
for (let i = 0; i < 200; i++) input.writeFloatBE(i + 0.1, 4 * i);

function refuse(code) {
  throw Object.assign(new Error(`exception ${code}`), { modbusErrorCode: code });
}

function registers(image, refusedFrom, start, count, unit) {
  if (unit !== 1 && unit !== 255) refuse(10);
  if (refusal && start >= refusedFrom) refuse(refusal);
  if (start + count > image.length / 2) refuse(2);
  return Array.from({ length: count }, (_, i) => image.readUInt16BE(2 * (start + i)));
}

new ServerTCP(
  {
    getHoldingRegister: (start, unit) => registers(holding, 900, start, 1, unit)[0], // it asks here for a single one
    getInputRegister: (start, unit) => registers(input, Infinity, start, 1, unit)[0],
    getMultipleHoldingRegisters: (start, count, unit) => registers(holding, 900, start, count, unit),
    getMultipleInputRegisters: (start, count, unit) => registers(input, Infinity, start, count, unit),
    getCoil: (bit) => bit % 3 === 0,
    getDiscreteInput: (bit) => bit % 7 === 0,
  },
  { host: "127.0.0.1", port: "0" }, // as a text: it takes the number for none
).on("initialized", function () {
  console.log(this._server.address().port);
});
