/* Starts processes that execute themselves over and over, each in one of several ways, and kills
 * each at some moment, so many times. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 4 };

static char *own[] = {"", "", 0};

static void *again(void *unused) {
    execv(own[0], own);
    _exit(1);
    return unused;
}

static void go_on(void) {
    pthread_t thread;
    switch (own[1][0]) {
    case 't':
        pthread_create(&thread, 0, again, 0);
        pause();
    case 'v':
        if (vfork()) _exit(3);
    case 'f':
        if (fork()) pause();
    }
    again(0);
}

int main(int argc, char **argv) {
    static char *ways[] = {"e", "t", "v", "f"};
    own[0] = argv[0];
    own[1] = argc > 2 ? "" : argv[1];
    if (argc == 2) go_on();
    pid_t children[AT_ONCE];
    unsigned seed = 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    alarm(300);
    for (int left = atoi(argv[1]); left > 0; left -= AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++)
            if (!(children[i] = fork())) {
                setpgid(0, 0);
                own[1] = ways[i];
                again(0);
            }
        for (int i = 0; i < AT_ONCE; i++) {
            int status;
            setpgid(children[i], children[i]);
            usleep(rand_r(&seed) % 3000);
            if (rand_r(&seed) % 2) kill(children[i], SIGKILL);
            while (!kill(-children[i], SIGKILL) && waitpid(children[i], &status, WNOHANG) == 0) {}
            kill(-children[i], SIGKILL);
        }
        while (waitpid(-1, 0, WNOHANG) > 0) {}
    }
    /* Nobody is left, or this does not end. */
    while (waitpid(-1, 0, 0) > 0) {}
    puts("over");
    return 42;
}
