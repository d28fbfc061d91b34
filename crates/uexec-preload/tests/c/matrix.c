/* posix_spawn(3) with random attributes, actions and programs: prints what came of each, so that the
 * output with the library preloaded can be compared with the output without. What the started program
 * finds goes to a report of its own. Usage: matrix SEED ROUNDS DIR. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static unsigned long state;

static unsigned below(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 11) % n);
}

#define PICK(list) ((list)[below(sizeof(list) / sizeof *(list))])

static int an_fd(void) {
    static const int fds[] = {0, 1, 2, 3, 5, 9, 20, 21, 30, 40, 63, -1, 1 << 20, 1 << 30};
    return PICK(fds);
}

static void attributes(posix_spawnattr_t *a) {
    static const short flags[] = {POSIX_SPAWN_RESETIDS,       POSIX_SPAWN_SETPGROUP,   POSIX_SPAWN_SETSIGDEF,
                                  POSIX_SPAWN_SETSIGMASK,     POSIX_SPAWN_SETSCHEDULER, POSIX_SPAWN_SETSCHEDPARAM,
                                  POSIX_SPAWN_USEVFORK,       POSIX_SPAWN_SETSID};
    static const int policies[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, 77};
    static const pid_t groups[] = {0, 0, 1, -1};
    struct sched_param param = {.sched_priority = below(4) ? 0 : 1};
    sigset_t set;
    short all = 0;
    posix_spawnattr_init(a);
    for (int i = below(4); i > 0; i--) all |= PICK(flags);
    if (below(40) == 0) all |= 0x1000;
    int said = posix_spawnattr_setflags(a, all);
    posix_spawnattr_setpgroup(a, below(3) ? PICK(groups) : getpgrp());
    sigemptyset(&set);
    for (int i = below(4); i > 0; i--) sigaddset(&set, 1 + below(64));
    if (below(8) == 0) sigfillset(&set);
    posix_spawnattr_setsigmask(a, &set);
    for (int i = below(4); i > 0; i--) sigaddset(&set, 1 + below(64));
    posix_spawnattr_setsigdefault(a, &set);
    posix_spawnattr_setschedparam(a, &param);
    posix_spawnattr_setschedpolicy(a, PICK(policies));
    printf("flags %#x said %d\n", all, said);
}

static void one_action(posix_spawn_file_actions_t *a) {
    static const char *const files[] = {"input", "/no/such", ".", "in/input", "/dev/null", ""};
    static const char *const dirs[] = {"in", "..", "/", "missing", "input", "/usr"};
    static const int flags[] = {O_RDONLY, O_RDONLY | O_CLOEXEC, O_RDONLY | O_DIRECTORY};
    int said = 0, one = an_fd(), two = an_fd();
    const char *file = PICK(files), *dir = PICK(dirs);
    int open_flags = PICK(flags), what = below(12);
    /* Nothing else is written to. */
    if (below(4) == 0) {
        file = REPORT ".made";
        open_flags = below(2) ? O_WRONLY | O_CREAT | O_TRUNC : O_RDWR | O_APPEND;
    }
    switch (what) {
    case 0: case 1: case 2:
        said = posix_spawn_file_actions_addopen(a, one, file, open_flags, 0640);
        break;
    case 3: case 4: case 5:
        said = posix_spawn_file_actions_adddup2(a, one, below(4) ? two : one);
        break;
    case 6: case 7:
        said = posix_spawn_file_actions_addclose(a, one);
        break;
    case 8: case 9:
        said = posix_spawn_file_actions_addchdir_np(a, dir);
        break;
    case 10:
        said = below(2) ? posix_spawn_file_actions_addfchdir_np(a, one)
                        : posix_spawn_file_actions_addtcsetpgrp_np(a, one);
        break;
    case 11:
        said = posix_spawn_file_actions_addclosefrom_np(a, one);
        break;
    }
    printf("action %d %d %d %s %s said %d\n", what, one, two, file, dir, said);
}

static void one(int number, const char *dir) {
    static const char *const programs[] = {"probe", "./probe", "in/probe", "missing", "text", "./text", "", "in",
                                           "nointerp", "hashbang", "plain", "plain/x", "loop"};
    static const char *const paths[] = {"%s", "/no/such:%s", ":/bin", "in", "", NULL, "%s/denied:%s", "%s/loop:%s"};
    char absolute[4096], path[4096], name[300];
    char *words[] = {"zero", "one", "", "two words", NULL}, *none[] = {NULL};
    char *vars[] = {"A=1", "NO_EQUALS", "=X", "A=2", NULL};
    char **argv = below(6) ? words + below(4) : none;
    char **envp = below(6) ? below(2) ? environ : vars : below(2) ? none : NULL;
    const char *program = PICK(programs);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int with_actions = below(4), with_attributes = below(3), in_path = below(2), status = 0, error;
    pid_t pid = -7;

    printf("%d: ", number);
    if (below(3) == 0) {
        snprintf(absolute, sizeof absolute, "%s/%s", dir, program);
        program = absolute;
    }
    if (below(30) == 0) {
        memset(name, 'n', sizeof name - 1);
        name[sizeof name - 1] = 0;
        program = name;
    }
    const char *format = PICK(paths);
    if (!format) unsetenv("PATH");
    else {
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(path, sizeof path, format, dir, dir);
        setenv("PATH", path, 1);
    }
    attributes(&attr);
    posix_spawn_file_actions_init(&actions);
    for (int i = below(5); i > 0; i--) one_action(&actions);
    FILE *report = fopen(REPORT, "a");
    if (report) fprintf(report, "round %d\n", number), fclose(report);
    if (in_path) error = posix_spawnp(&pid, program, with_actions ? &actions : NULL, with_attributes ? &attr : NULL, argv, envp);
    else error = posix_spawn(&pid, program, with_actions ? &actions : NULL, with_attributes ? &attr : NULL, argv, envp);
    printf("%s %s in %s: error %d", in_path ? "search" : "start", program, format ? path : "nothing", error);
    if (!error && waitpid(pid, &status, 0) == pid) printf(", status %#x", status);
    else if (pid != -7) printf(", pid set");
    errno = 0;
    if (waitpid(-1, &status, WNOHANG) != -1 || errno != ECHILD) printf(", a child is left");
    printf("\n");
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
}

int main(int argc, char **argv) {
    if (argc < 4) return 1;
    state = strtoul(argv[1], NULL, 10) * 0x9e3779b97f4a7c15ul | 1;
    int rounds = atoi(argv[2]), fd = open("input", O_RDONLY);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    /* Some are inherited, some are not. */
    fcntl(fd, F_DUPFD, 20);
    fcntl(fd, F_DUPFD_CLOEXEC, 30);
    int in = open("in", O_RDONLY);
    dup2(in, 40);
    close(in);
    close(fd);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(45, SIG_IGN);
    for (int i = 0; i < rounds; i++) {
        /* Half as somebody whose real user is another. */
        if (i == rounds / 2 && getuid() == 0) {
            if (setegid(65534) || seteuid(65534)) return 2;
            printf("from here on as nobody\n");
        }
        one(i, argv[3]);
        fflush(stdout);
    }
    return 0;
}
