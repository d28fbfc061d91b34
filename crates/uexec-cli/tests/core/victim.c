/* Becomes hard to dump in one of several ways, says so, and waits or dies. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static char marker[] = "a marker in the data";

static void *wait_forever(void *unused) {
    (void)unused;
    for (;;) pause();
}

/* A thread that waits in the kernel until its child is gone, and cannot be stopped meanwhile. */
static void *stuck(void *unused) {
    (void)unused;
    if (vfork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
    return 0;
}

static int start(int count, void *(*what)(void *)) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int i = 0; i < count; i++) {
        pthread_t t;
        if (pthread_create(&t, &small, what, 0)) return i;
    }
    return count;
}

static int regions(int count) {
    for (int i = 0; i < count; i++) {
        int prot = PROT_READ | PROT_WRITE;
        char *page = mmap(0, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return i;
        *page = 1;
        /* Neighbours that differ stay apart. */
        if (i % 2) mprotect(page, 4096, PROT_READ);
    }
    return count;
}

__attribute__((noinline)) static int inner(int depth, volatile int *at) {
    return depth ? inner(depth - 1, at) + 1 : *at;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    int count = argc > 2 ? atoi(argv[2]) : 0;
    int dies = argc > 3;
    int done = count;
    if (!strcmp(how, "threads")) done = start(count, wait_forever);
    if (!strcmp(how, "stuck")) done = start(count, stuck);
    if (!strcmp(how, "regions")) done = regions(count);
    if (!strcmp(how, "memory")) {
        char *p = mmap(0, (size_t)count << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 7, (size_t)count << 20);
    }
    usleep(200000);
    printf("%d %p\n", done, (void *)marker);
    fflush(stdout);
    if (dies) return inner(3, (volatile int *)16);
    wait_forever(0);
}
