/* What a dependent load costs here, over so much memory: a chain of pointers in random order, one to a cache line, in pages of 4 KiB. Prints
   "KIB NS" for each size. A look-up of a cold entry is a handful of these, one behind the other. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define LINE 64

static uint64_t state = 88172645463325252u;

static uint64_t random_number(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

int main(void)
{
    for (size_t kib = 16; kib <= 512 * 1024; kib *= 2) {
        size_t lines = kib * 1024 / LINE;
        char *memory = mmap(NULL, kib * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uint32_t *order = malloc(lines * sizeof *order);
        if (memory == MAP_FAILED || !order)
            return 2;
        madvise(memory, kib * 1024, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < lines; i++)
            order[i] = (uint32_t)i;
        /* Sattolo: one cycle through all. */
        for (size_t i = lines - 1; i > 0; i--) {
            size_t other = random_number() % i;
            uint32_t held = order[i];
            order[i] = order[other], order[other] = held;
        }
        for (size_t i = 0; i < lines; i++)
            *(void **)(memory + (size_t)order[i] * LINE) = memory + (size_t)order[(i + 1) % lines] * LINE;
        double best = 1e18;
        void **at = (void **)memory;
        for (int round = 0; round < 4; round++) {
            struct timespec begun, ended;
            const long steps = 300000;
            clock_gettime(CLOCK_MONOTONIC_RAW, &begun);
            for (long i = 0; i < steps; i++)
                at = *(void ***)at;
            clock_gettime(CLOCK_MONOTONIC_RAW, &ended);
            double took = (double)(ended.tv_sec - begun.tv_sec) * 1e9 + (double)(ended.tv_nsec - begun.tv_nsec);
            /* The first round brings it in. */
            if (round && took / (double)steps < best)
                best = took / (double)steps;
        }
        printf("%zu %.2f\n", kib, at ? best : 0);
        munmap(memory, kib * 1024);
        free(order);
    }
    return 0;
}
