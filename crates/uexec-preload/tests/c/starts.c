/* Starts programs in all of libc's ways and prints what came of it, so that the output with the
 * library preloaded can be compared with the output without. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void ended(const char *what, int error, pid_t pid) {
    int status = 0;
    if (error) {
        printf("%s: error %d\n", what, error);
        return;
    }
    if (waitpid(pid, &status, 0) != pid) printf("%s: lost\n", what);
    else printf("%s: status %#x\n", what, status);
    fflush(stdout);
}

/* What a shell ignores, but for the two signals of glibc's own, 32 and 33, which its posix_spawn
 * ignores in children. */
#define IGNORED \
    "s=$(grep SigIgn /proc/$$/status | cut -c9-); printf '%x\\n' $((0x$s & ~0x180000000));"

/* Actions and attributes, seen by a shell. */
static void spawns(void) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    pid_t pid = 0;
    int error;
    struct sched_param param = {0};
    char *look[] = {"sh", "-c",
                    "pwd; ls -l /proc/self/fd | sed 's/.* //' | grep -c .; read x; echo \"$x\"; "
                    "grep SigBlk /proc/$$/status;" IGNORED
                    "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && echo leader; [ $6 = $$ ] && echo session",
                    NULL};
    char *quick[] = {"true", NULL};

    error = posix_spawn(&pid, "/bin/true", NULL, NULL, quick, environ);
    ended("plain", error, pid);
    error = posix_spawnp(&pid, "true", NULL, NULL, quick, environ);
    ended("in PATH", error, pid);
    error = posix_spawn(&pid, "/no/such", NULL, NULL, quick, environ);
    ended("missing", error, pid);
    error = posix_spawnp(&pid, "no-such", NULL, NULL, quick, environ);
    ended("missing in PATH", error, pid);
    error = posix_spawn(&pid, "/", NULL, NULL, quick, environ);
    ended("a directory", error, pid);
    error = posix_spawn(&pid, "text", NULL, NULL, quick, environ);
    ended("text", error, pid);
    error = posix_spawnp(&pid, "text", NULL, NULL, quick, environ);
    ended("text in PATH", error, pid);

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addchdir_np(&actions, "/usr");
    posix_spawn_file_actions_addopen(&actions, 9, "/etc/hostname", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 9, 0);
    posix_spawn_file_actions_addclose(&actions, 9);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigmask(&attributes, &set);
    sigaddset(&set, SIGUSR2);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setschedparam(&attributes, &param);
    posix_spawnattr_setschedpolicy(&attributes, SCHED_OTHER);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_RESETIDS |
                                              POSIX_SPAWN_SETSCHEDULER);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    error = posix_spawn(&pid, "/bin/sh", &actions, &attributes, look, environ);
    ended("everything", error, pid);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    error = posix_spawn(&pid, "/bin/sh", &actions, &attributes, look, environ);
    ended("session", error, pid);
    posix_spawn_file_actions_addopen(&actions, 5, "/no/such/file", O_RDONLY, 0);
    error = posix_spawn(&pid, "/bin/sh", &actions, NULL, look, environ);
    ended("bad open", error, pid);
    printf("bad numbers: %d %d %d\n", posix_spawn_file_actions_addclose(&actions, -1),
           posix_spawn_file_actions_adddup2(&actions, 1, -1),
           posix_spawn_file_actions_addopen(&actions, 1 << 30, "/", 0, 0));
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
}

static void shells(void) {
    char line[256];
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_IGN);
    fflush(stdout);
    printf("system: %#x\n", system("exit 3"));
    printf("system: %#x\n", system("kill -TERM $$"));
    printf("system: %d\n", system(NULL));
    fflush(stdout);
    printf("system: %#x\n", system(IGNORED));
    fflush(stdout);
    printf("system, wordy: %#x\n", system("no-such-command 2>/dev/null"));

    FILE *one = popen("cat; echo end", "w");
    FILE *two = popen("echo from two; ls /proc/self/fd | wc -l", "r");
    FILE *three = popen("exit 7", "re");
    fputs("to one\n", one);
    while (fgets(line, sizeof line, two)) printf("two says %s", line);
    fflush(stdout);
    printf("pclose: %#x\n", pclose(two));
    printf("pclose: %#x\n", pclose(three));
    fflush(stdout);
    printf("pclose: %#x\n", pclose(one));
    errno = 0;
    printf("popen: %p", (void *)popen("true", "x"));
    printf(", errno %d\n", errno);
    fflush(stdout);
}

static volatile int stop;

static void *allocates(void *unused) {
    while (!stop) {
        char *a = malloc(100), *b = malloc(70000);
        memset(a, 1, 100);
        memset(b, 1, 70000);
        free(a);
        free(b);
    }
    return unused;
}

/* Children of vfork that fail and succeed, while other threads allocate. */
static void vforks(int rounds) {
    pthread_t threads[2];
    volatile int good = 0, errors = 0, text = 0;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, allocates, NULL);
    for (volatile int i = 0; i < rounds; i++) {
        char *argv[] = {"true", "x", NULL};
        volatile int failed = 0;
        pid_t pid = vfork();
        if (pid == 0) {
            execve("/no/such", argv, environ);
            failed = errno;
            if (i % 3) execvp("true", argv);
            else execvp("text", argv);
            _exit(99);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        if (failed == ENOENT) errors++;
        if (i % 3) good += status == 0;
        else text += WIFEXITED(status) && WEXITSTATUS(status) == 4;
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    printf("vfork: %d %d %d\n", errors, good, text);
}

int main(int argc, char **argv) {
    spawns();
    shells();
    vforks(argc > 1 ? atoi(argv[1]) : 60);
    return 0;
}
