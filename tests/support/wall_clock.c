/* A wall clock that can be turned, for one process: LD_PRELOAD this, and name in WALL_CLOCK a file of 8 bytes, an int64
 * in the byte order of the machine, by how many seconds the clock is off. With WALL_CLOCK_MONOTONIC_TOO the monotonic
 * clocks are off as well. Only asking for the time is replaced: waits stay those of the kernel.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*kernel_clock)(clockid_t, struct timespec *);
static volatile const int64_t *offset_s;
static int monotonic_too;

__attribute__((constructor)) static void begin(void)
{
    kernel_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("WALL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *there = mmap(NULL, sizeof *offset_s, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    monotonic_too = getenv("WALL_CLOCK_MONOTONIC_TOO") != NULL;
    if (there != MAP_FAILED)
        offset_s = there;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!kernel_clock) /* somebody's constructor was earlier than ours */
        begin();
    int failed = kernel_clock(clock, now);
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
    int monotonic = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
    if (!failed && offset_s && (wall || (monotonic && monotonic_too)))
        now->tv_sec += *offset_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise))
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise))
        return -1;
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
