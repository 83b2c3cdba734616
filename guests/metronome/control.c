/*
 * The loop. Numbers are fixed-point, 256 to the unit, and every operation is exact, so that anybody can do the
 * same steps and must come to the same check sum (tests/system/test_metronome.py does).
 *
 * The plant is of the first order: each step its value goes a sixteenth of the way to what the actuator sets.
 * The sensor shows it with a disturbance of up to two units. The set point jumps between two values every 128
 * steps.
 */
#include "metronome.h"

enum { ONE = 256, LOW_POINT = 20 * ONE, HIGH_POINT = 80 * ONE, STEPS_OF_A_POINT = 128 };
enum {
    OUTPUT_MOST = 120 * ONE,
    PROPORTIONAL = 3,
    INTEGRAL_DIVISOR = 8,
    PLANT_DIVISOR = 16,
    DISTURBANCE_MASK = 0x3ff
};

#define FNV_START 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

void loop_start(struct loop *loop)
{
    *loop = (struct loop){.noise = 1, .check_sum = FNV_START};
}

/* The plant's value with a disturbance of -512 to 511: a linear congruential generator's middle bits. */
static int32_t read_sensor(struct loop *loop)
{
    loop->noise = loop->noise * 1664525u + 1013904223u;
    return loop->value + (int32_t)(loop->noise >> 12 & DISTURBANCE_MASK) - 2 * ONE;
}

static int32_t clamp(int32_t value, int32_t most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

/* What the actuator is to set. The integral stands still while the output is at its end. */
static int32_t control(struct loop *loop, int32_t error)
{
    int32_t wanted = PROPORTIONAL * error + loop->integral / INTEGRAL_DIVISOR;
    int32_t output = clamp(wanted, OUTPUT_MOST);
    if (output == wanted)
        loop->integral += error;
    return output;
}

static void add_to_check_sum(struct loop *loop, uint32_t value)
{
    loop->check_sum = (loop->check_sum ^ value) * FNV_PRIME;
}

void loop_step(struct loop *loop)
{
    int32_t set_point = loop->step / STEPS_OF_A_POINT % 2 ? HIGH_POINT : LOW_POINT;
    int32_t seen = read_sensor(loop);
    int32_t output = control(loop, set_point - seen);
    loop->value += (output - loop->value) / PLANT_DIVISOR;
    loop->step++;
    add_to_check_sum(loop, (uint32_t)seen);
    add_to_check_sum(loop, (uint32_t)output);
}
