/* Starts programs and says why one does not start. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <uexec.h>
#include <unistd.h>

extern char **environ;

static int finish(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void) {
    struct uexec_error why;
    pid_t pid = 0;
    int pidfd = -1, ends[2];

    /* Nothing has failed yet. */
    if (uexec_last_error(&why) != 0 || why.errnum != 0) return 1;

    /* A program with its output in a pipe, in another directory, in a group of its own. */
    if (pipe(ends)) return 2;
    struct uexec_how how = UEXEC_HOW_INIT;
    how.flags = UEXEC_SPAWN_SETPGROUP | UEXEC_SPAWN_SETSIGMASK;
    how.stdio[1] = ends[1];
    how.dir = "/usr";
    how.pidfd = &pidfd;
    char *argv[] = {"sh", "-c", "pwd; exit 5", NULL};
    if (uexec_spawnp(&pid, "sh", &how, argv, environ)) return 3;
    close(ends[1]);
    char text[16] = "";
    if (read(ends[0], text, sizeof text - 1) != 5 || strcmp(text, "/usr\n")) return 4;
    if (pidfd < 0 || finish(pid) != 5) return 5;

    /* A program that is not there. */
    char *none[] = {"none", NULL};
    int errnum = uexec_spawn(&pid, "/no/such/program", NULL, none, environ);
    if (uexec_last_error(&why) != errnum) return 6;
    printf("spawn: %d, %s: %s\n", errnum, why.stage, why.why);

    /* A directory that is not there, for the child. */
    how.dir = "/no/such/directory";
    how.stdio[1] = -1;
    errnum = uexec_spawn(&pid, "/bin/true", &how, none, environ);
    uexec_last_error(&why);
    printf("spawn: %d, %s: %s\n", errnum, why.stage, why.why);

    /* Wrong use. */
    how.size = 1;
    if (uexec_spawn(&pid, "/bin/true", &how, none, environ) != 22) return 7;

    /* Asked beforehand. */
    if (uexec_explain("/bin/true", argv, environ, &why) != 0) return 8;
    errnum = uexec_explain("/", argv, environ, &why);
    printf("explain: %d, %s: %s: %s\n", errnum, why.file, why.stage, why.why);

    /* Becoming another program, which fails and then works. */
    if (uexec_execv("/etc/passwd", argv) != -1) return 9;
    uexec_last_error(&why);
    printf("execv: %d, %s: %s (%s)\n", why.errnum, why.stage, why.why, why.hint);
    fflush(stdout);
    uexec_execlp("echo", "echo", "and so", "on", (char *)NULL);
    return 10;
}
