/* Becomes another program by the function that is named, as libc does it (-DLIBC) or as uexec does;
 * prints the errno if that fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef LIBC
#define F(name) name
#else
#include <uexec.h>
#define F(name) uexec_##name
#endif

static void *idle(void *unused) {
    for (;;) pause();
    return unused;
}

int main(int argc, char **argv) {
    char *words[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", NULL};
    char *envp[] = {"MARK=given", "PATH=/nowhere", NULL};
    const char *how = argv[1], *path = argv[2];
    if (argc > 3)
        for (int i = 0; i < 3; i++) {
            pthread_t thread;
            pthread_create(&thread, NULL, idle, NULL);
        }
    if (!strcmp(path, "NULL")) path = NULL;
    setenv("MARK", "inherited", 1);
    errno = 0;
    int got = 0;
    if (!strcmp(how, "execl"))
        got = F(execl)(path, "zero", "one", "two", "three", "four", "five", "six", (char *)NULL);
    else if (!strcmp(how, "execl0"))
        got = F(execl)(path, (char *)NULL);
    else if (!strcmp(how, "execl1"))
        got = F(execl)(path, "zero", (char *)NULL);
    else if (!strcmp(how, "execlp"))
        got = F(execlp)(path, "zero", "one", "two", "three", "four", "five", "six", (char *)NULL);
    else if (!strcmp(how, "execle"))
        got = F(execle)(path, "zero", "one", (char *)NULL, envp);
    else if (!strcmp(how, "execle9"))
        got = F(execle)(path, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", (char *)NULL, envp);
    else if (!strcmp(how, "execv"))
        got = F(execv)(path, words);
    else if (!strcmp(how, "execvp"))
        got = F(execvp)(path, words);
    else if (!strcmp(how, "execvpe"))
        got = F(execvpe)(path, words, envp);
    else if (!strcmp(how, "execve"))
        got = F(execve)(path, words, envp);
    else if (!strcmp(how, "execve0"))
        got = F(execve)(path, NULL, NULL);
    else if (!strcmp(how, "execveat"))
        got = F(execveat)(open("good", O_RDONLY | O_DIRECTORY), path, words, envp, 0);
    else if (!strcmp(how, "fexecve"))
        got = F(fexecve)(open(path, O_RDONLY), words, envp);
    else if (!strcmp(how, "fexecve0"))
        got = F(fexecve)(open(path, O_RDONLY), NULL, envp);
    else
        return 2;
    printf("%s returned %d, errno %d\n", how, got, errno);
    return 1;
}
