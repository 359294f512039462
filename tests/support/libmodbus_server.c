/* A Modbus server that is not ours: libmodbus, with known values in every type and order.
 *
 * Listens on any free port of 127.0.0.1, prints it, and serves one connection after the other until it is killed.
 * Argument 1, when given: an exception code with which every request for holding registers from 900 on is refused;
 * or "rtu" and a serial port: then it serves unit 1 of that bus instead, and prints 0.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT 80.4f

static void put_32(uint16_t *registers, uint32_t value)
{
    MODBUS_SET_INT32_TO_INT16(registers, 0, value);
}

static void put_64(uint16_t *registers, uint64_t value)
{
    MODBUS_SET_INT64_TO_INT16(registers, 0, value);
}

/* "abcd" is the order of reading; not libmodbus' own modbus_set_float_*, whose names changed meaning after 3.1.6. */
static void put_float(uint16_t *registers, float value, const char *order)
{
    uint32_t bits;
    uint8_t wire[4];
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++)
        wire[i] = (uint8_t) (bits >> 8 * ('d' - order[i]));
    registers[0] = (uint16_t) (wire[0] << 8 | wire[1]);
    registers[1] = (uint16_t) (wire[2] << 8 | wire[3]);
}

static void put_double(uint16_t *registers, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_64(registers, bits);
}

static void put_text(uint16_t *registers, const char *text)
{
    for (size_t i = 0; i * 2 < strlen(text); i++)
        registers[i] = (uint16_t) ((unsigned char) text[2 * i] << 8 | (unsigned char) text[2 * i + 1]);
}

static void fill(modbus_mapping_t *map)
{
    uint16_t *holding = map->tab_registers, *input = map->tab_input_registers;

    holding[0] = 65535;
    holding[1] = (uint16_t) -32768;
    put_32(holding + 2, (uint32_t) -123456789);
    put_32(holding + 4, (uint32_t) 4000000000u);
    put_64(holding + 6, (uint64_t) -1234567890123456789LL);
    put_64(holding + 10, (uint64_t) 9223372036854775807LL);
    put_float(holding + 14, FLOAT, "abcd");
    put_float(holding + 16, FLOAT, "dcba");
    put_float(holding + 18, FLOAT, "badc");
    put_float(holding + 20, FLOAT, "cdab");
    put_double(holding + 22, 1.0 / 3.0);
    holding[26] = 0x8001;
    put_text(holding + 27, "R-101 ok  ");
    put_float(holding + 32, NAN, "abcd");
    put_float(holding + 34, INFINITY, "abcd");
    holding[36] = 0x8000;
    put_64(holding + 37, (uint64_t) 0xFFFFFFFFFFFFFFFFull);
    holding[41] = 0x5506; /* 80.375 as a half */
    holding[42] = 0x1234;
    holding[43] = 1234;
    holding[44] = (uint16_t) -2;

    for (int i = 0; i < 200; i++)
        put_float(input + 2 * i, (float) i + 0.1f, "abcd");
    for (int i = 0; i < 40; i++) {
        map->tab_bits[i] = i % 3 == 0;
        map->tab_input_bits[i] = i % 7 == 0;
    }
}

static int refused(modbus_t *context, const uint8_t *request, int code)
{
    int at = modbus_get_header_length(context);
    return code && request[at] == 3 && (request[at + 1] << 8 | request[at + 2]) >= 900;
}

static int serve_rtu(const char *port)
{
    uint8_t request[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_t *context = modbus_new_rtu(port, 19200, 'N', 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(100, 100, 1000, 500);

    if (!context || !map || modbus_set_slave(context, 1) < 0 || modbus_connect(context) < 0) {
        fprintf(stderr, "cannot listen: %s\n", modbus_strerror(errno));
        return 1;
    }
    fill(map);
    printf("0\n");
    fflush(stdout);
    for (;;) {
        int got = modbus_receive(context, request);
        if (got > 0)
            modbus_reply(context, request, got, map);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "rtu") == 0)
        return serve_rtu(argv[2]);
    int code = argc > 1 ? atoi(argv[1]) : 0;
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new(100, 100, 1000, 500);
    struct sockaddr_in where;
    socklen_t length = sizeof where;
    int listener = context && map ? modbus_tcp_listen(context, 5) : -1;

    if (listener < 0 || getsockname(listener, (struct sockaddr *) &where, &length) < 0) {
        fprintf(stderr, "cannot listen: %s\n", modbus_strerror(errno));
        return 1;
    }
    fill(map);
    printf("%d\n", ntohs(where.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(context, &listener) >= 0) {
        int got;
        while ((got = modbus_receive(context, request)) >= 0) {
            if (got > 0 && refused(context, request, code))
                modbus_reply_exception(context, request, (unsigned) code);
            else if (got > 0)
                modbus_reply(context, request, got, map);
        }
        modbus_close(context);
    }
    return 0;
}
