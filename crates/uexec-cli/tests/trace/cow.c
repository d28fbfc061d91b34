// Forks, and writes so many pages on each side: child, parent, "exec" or "exit", "huge" or "small".
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, HUGE = 2 << 20, SIZE = 4 * HUGE };

static void turn(int fd) {
    char byte;
    if (read(fd, &byte, 1) != 1) _exit(9);
}

static void write_pages(volatile char *memory, int count) {
    for (int i = 0; i < count; i++) memory[(long)i * PAGE] = 2;
}

int main(int argc, char **argv) {
    int child = atoi(argv[1]), parent = atoi(argv[2]);
    char *memory = mmap(0, SIZE + HUGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = (char *)(((unsigned long)memory + HUGE - 1) & -(unsigned long)HUGE);
    if (madvise(memory, SIZE, argv[4][0] == 'h' ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)) return 8;
    memset(memory, 1, SIZE / 2);
    // Read only: the kernel's page of zeros, which nobody copies.
    for (long i = SIZE / 2; i < SIZE; i += PAGE) if (((volatile char *)memory)[i]) return 7;
    int ready[2], go[2];
    if (pipe(ready) || pipe(go)) return 6;
    pid_t pid = fork();
    if (!pid) {
        write_pages(memory, child);
        if (write(ready[1], "", 1) != 1) _exit(5);
        turn(go[0]);
        if (argv[3][1] == 'x' && argv[3][2] == 'e') execl("/bin/true", "true", (char *)0);
        _exit(0);
    }
    turn(ready[0]);
    write_pages(memory, parent);
    if (write(go[1], "", 1) != 1) return 5;
    int status;
    return waitpid(pid, &status, 0) != pid || status;
}
