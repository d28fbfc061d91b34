/* Starts a program whose format the kernel has lost: refused, and then as asked for. */
#include <stdio.h>
#include <sys/wait.h>
#include <uexec.h>

int main(int argc, char **argv) {
    char *envp[] = {NULL};
    struct uexec_how how = UEXEC_HOW_INIT;
    pid_t pid = 0;
    int status = 0, refused = uexec_spawn(&pid, argv[argc - 1], &how, argv, envp);
    how.flags = UEXEC_SPAWN_ALLFORMATS;
    int failed = uexec_spawn(&pid, argv[argc - 1], &how, argv, envp);
    if (!failed) waitpid(pid, &status, 0);
    printf("%d %d %d\n", refused, failed, WEXITSTATUS(status));
    return 0;
}
