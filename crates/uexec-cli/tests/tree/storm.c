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
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 4, LONGEST = 60, GENERATIONS = 20 };

/* The program, the way, and when all of this is over for certain. */
static char *own[] = {"", "", "", 0};

static void *again(void *unused) {
    execv(own[0], own);
    _exit(1);
    return unused;
}

static void go_on(void) {
    pthread_t thread;
    if (time(0) > atol(own[2])) _exit(4);
    /* No more than so many processes. */
    int young = own[1][1] < 'a' + GENERATIONS;
    own[1][1] += young;
    switch (young ? own[1][0] : 'e') {
    case 't':
        pthread_create(&thread, 0, again, 0);
        pause();
        break;
    case 'v':
        if (vfork()) pause();
        break;
    case 'f':
        if (fork()) pause();
    }
    again(0);
}

int main(int argc, char **argv) {
    static char ways[AT_ONCE][3] = {"ea", "ta", "va", "fa"};
    char until[32];
    own[0] = argv[0];
    if (argc == 3) own[1] = argv[1], own[2] = argv[2], go_on();
    snprintf(until, sizeof until, "%ld", (long)time(0) + LONGEST);
    own[2] = until;
    alarm(LONGEST);
    pid_t children[AT_ONCE];
    unsigned seed = 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
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
