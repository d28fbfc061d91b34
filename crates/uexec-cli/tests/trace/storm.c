/* Children that are killed at any moment, that execute from one of several threads, that share
   memory with their parent; and some that have children themselves. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *execute(void *unused) {
    execl("/bin/true", "true", (char *)0);
    return unused;
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < count; i++) {
        pid_t child = i % 3 ? fork() : vfork();
        if (!child) {
            pthread_t thread;
            if (i % 3 == 1)
                for (int k = 0; k < 4; k++) pthread_create(&thread, 0, execute, 0);
            if (i % 3 == 1) pause();
            execl("/bin/true", "true", (char *)0);
            _exit(1);
        }
        if (i % 2) kill(child, SIGKILL);
        if (i % 5 == 0) while (waitpid(-1, 0, WNOHANG) > 0);
    }
    while (wait(0) > 0);
    return 0;
}
