/* A wall clock that is ahead of the real one by what a file says, for whatever this is preloaded to.
 *
 * The file WALL_CLOCK holds one signed number of nanoseconds, which is mapped into memory: asking
 * the time takes no lock and no system call, so a process with many threads is not slowed down.
 * Monotonic clocks are left as they are, and so is how long a wait lasts, also one until a moment of
 * the wall clock, as MariaDB's are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define SECOND 1000000000LL
#define DECADES 1000000000LL /* seconds: no machine runs for so long, and every wall clock is later */

static int (*real)(clockid_t, struct timespec *);
static const int64_t *ahead;

__attribute__((constructor)) static void begin(void)
{
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(getenv("WALL_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *page = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        abort();
    ahead = page;
}

int clock_gettime(clockid_t clock, struct timespec *found)
{
    if (!ahead)
        begin(); /* another library's constructor came first */
    int code = real(clock, found);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t now = found->tv_sec * SECOND + found->tv_nsec + __atomic_load_n(ahead, __ATOMIC_RELAXED);
        found->tv_sec = now / SECOND;
        found->tv_nsec = now % SECOND;
    }
    return code;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    (void)zone;
    return 0;
}

time_t time(time_t *found)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict moment)
{
    struct timespec end = *moment;
    if (!ahead)
        begin();
    if (end.tv_sec < DECADES)
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end);
    int64_t by = __atomic_load_n(ahead, __ATOMIC_RELAXED);
    end.tv_sec -= by / SECOND;
    end.tv_nsec -= by % SECOND;
    if (end.tv_nsec < 0) {
        end.tv_sec -= 1;
        end.tv_nsec += SECOND;
    } else if (end.tv_nsec >= SECOND) {
        end.tv_sec += 1;
        end.tv_nsec -= SECOND;
    }
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &end);
}
