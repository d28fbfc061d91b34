/* Dies in one of several ways, after having stopped itself so that a tracer can come. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *map(size_t len, int flags, int fd) {
    return mmap(0, len, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static pthread_barrier_t ready;

static void *wait_forever(void *unused) {
    (void)unused;
    pthread_barrier_wait(&ready);
    for (;;) pause();
}

/* How many threads are inside pause(2), where they change nothing any more. */
static int waiting(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[64], now[8] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/syscall", task->d_name);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, now, 3) == 3) count += !memcmp(now, "34 ", 3);
        close(fd);
    }
    closedir(tasks);
    return count;
}

static int overflow(volatile char *above) {
    char frame[512];
    memset(frame, 1, sizeof frame);
    return overflow(frame) + frame[7] + (above ? *above : 0);
}

__attribute__((target("avx"))) static void avx(void) {
    __m256i all = _mm256_set1_epi32(0x12345678);
    __asm__ volatile("vmovdqa %0, %%ymm7\n ud2" : : "m"(all));
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    signal(SIGCONT, SIG_DFL);
    raise(SIGSTOP);
    if (!strcmp(how, "threads")) {
        pthread_t t;
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 65536);
        pthread_barrier_init(&ready, 0, 51);
        for (int i = 0; i < 50; i++) pthread_create(&t, &small, wait_forever, 0);
        pthread_barrier_wait(&ready);
        while (waiting() < 50) usleep(1000);
    } else if (!strcmp(how, "avx")) {
        avx();
    } else if (!strcmp(how, "large")) {
        char *p = map(64 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        for (size_t i = 0; i < 64 << 20; i += 4096) p[i + i / 4096 % 4096] = 1 + i / 4096 % 200;
    } else if (!strcmp(how, "shared")) {
        map(3 * 4096, MAP_SHARED | MAP_ANONYMOUS, -1)[5000] = 7;
        int fd = memfd_create("mine", 0);
        if (ftruncate(fd, 8192)) return 9;
        map(8192, MAP_SHARED, fd)[1] = 8;
        fd = open("shared-file", O_RDWR | O_CREAT, 0600);
        if (ftruncate(fd, 8192)) return 9;
        map(8192, MAP_SHARED, fd)[1] = 9;
        fd = open("shared-file", O_RDONLY);
        mmap(0, 8192, PROT_READ, MAP_SHARED, fd, 0);
    } else if (!strcmp(how, "deleted")) {
        int fd = open("gone", O_RDWR | O_CREAT, 0600);
        if (write(fd, how, 7) != 7) return 9;
        map(4096, MAP_PRIVATE, fd);
        map(4096, MAP_SHARED, fd)[9] = 1;
        unlink("gone");
        fd = open("replaced", O_RDWR | O_CREAT, 0700);
        if (write(fd, how, 7) != 7) return 9;
        mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        rename("replaced", "other");
        close(open("replaced", O_RDWR | O_CREAT, 0600));
        fd = open("plain", O_RDWR | O_CREAT, 0600);
        if (write(fd, "\177ELF", 4) != 4) return 9;
        mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    } else if (!strcmp(how, "holes")) {
        char *p = map(256 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        p[0] = p[100 << 20] = p[(256 << 20) - 1] = 3;
        p[50 << 20] = 0;
        volatile char zero = p[70 << 20];
        (void)zero;
        map(1 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        p = map(16 * 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        p[4096] = 1;
        mprotect(p, 8 * 4096, PROT_NONE);
    } else if (!strcmp(how, "dontdump")) {
        char *p = map(1 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        memset(p, 5, 1 << 20);
        madvise(p + 8192, 16384, MADV_DONTDUMP);
    } else if (!strcmp(how, "overflow")) {
        return overflow(0);
    } else if (!strcmp(how, "null")) {
        *(volatile int *)16 = 1;
    }
    abort();
}
