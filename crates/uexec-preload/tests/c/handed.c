/* An interpreter of a rule: prints its arguments, and the first bytes of the file that it was handed.
 * As `handed spawn PROG ARGS…` it starts PROG by posix_spawn(3). */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "spawn")) {
        char *envp[] = {NULL};
        pid_t pid;
        int status, failed = posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, envp);
        return failed ? failed : waitpid(pid, &status, 0) != pid || status;
    }
    for (int i = 1; i < argc; i++) printf("%s ", argv[i]);
    char head[5] = "none";
    unsigned long fd = getauxval(AT_EXECFD);
    if (fd && pread((int)fd, head, 4, 0) != 4) return 1;
    printf("[%s]\n", head);
    return 0;
}
