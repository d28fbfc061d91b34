/* system(3), popen(3) and what goes wrong around them: prints what came of it, so that the output with
 * the library preloaded can be compared with the output without. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t interrupts, quits, children;

static void count(int signal) {
    if (signal == SIGINT) interrupts++;
    else if (signal == SIGQUIT) quits++;
    else children++;
}

static void all_quiet(const char *what) {
    int status;
    errno = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    printf("%s: %s, interrupts %d, quits %d, child signals %d\n", what,
           pid == -1 && errno == ECHILD ? "no child" : "a child", interrupts, quits, children);
    fflush(stdout);
}

static void modes(void) {
    static const char *const all[] = {"r", "w", "e", "", "re", "er", "we", "rw", "wr", "rr", "xr", "rx", "r+", "wb", "ree"};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        errno = 0;
        FILE *f = popen("exit 3", all[i]);
        int error = errno;
        printf("popen %s: %s %d", all[i], f ? "a stream" : "none", f ? 0 : error);
        if (f) {
            printf(" %d", fcntl(fileno(f), F_GETFD));
            printf(", closed %#x", pclose(f));
        }
        printf("\n");
    }
    all_quiet("modes");
}

/* Not for streams of popen, but libc's waits for the command all the same. */
static int (*volatile close_anyhow)(FILE *) = fclose;

/* Streams that are closed so, and what later commands inherit. */
static void streams(void) {
    FILE *a = popen("cat", "w"), *b = popen("cat >&2", "w");
    printf("fclose %d\n", close_anyhow(a));
    FILE *c = popen("ls /proc/self/fd | wc -l", "r"), *d = popen("exit 5", "re");
    char line[100];
    if (fgets(line, sizeof line, c)) printf("has %s", line);
    printf("pclose %#x", pclose(c));
    printf(" %#x", pclose(b));
    printf(" %#x\n", close_anyhow(d));
    all_quiet("streams");
    FILE *e = popen("sleep 0.2; exit 6", "r");
    signal(SIGCHLD, SIG_IGN);
    errno = 0;
    int closed = pclose(e);
    printf("ignored children: %d %d\n", closed, errno);
    errno = 0;
    closed = system("exit 4");
    printf("ignored children: %d %d\n", closed, errno);
    signal(SIGCHLD, count);
}

static void closed_standard(void) {
    int in = dup(0), out = dup(1);
    fflush(stdout);
    close(0);
    FILE *r = popen("echo to the pipe", "r");
    char line[100] = "";
    if (r && !fgets(line, sizeof line, r)) strcpy(line, "nothing\n");
    int a = r ? pclose(r) : -1;
    close(1);
    FILE *w = popen("cat >&2", "w");
    if (w) fputs("x", w);
    int b = w ? pclose(w) : -1;
    dup2(in, 0);
    dup2(out, 1);
    close(in);
    close(out);
    printf("closed: %s%#x %#x\n", line, a, b);
}

static void signals(void) {
    struct sigaction now;
    sigset_t set;
    signal(SIGINT, count);
    signal(SIGQUIT, count);
    signal(SIGCHLD, count);
    printf("system %#x\n", system("kill -INT $PPID; kill -QUIT $PPID; exit 2"));
    all_quiet("system");
    sigaction(SIGINT, NULL, &now);
    printf("restored %d\n", now.sa_handler == count);
    sigprocmask(SIG_SETMASK, NULL, &set);
    printf("blocked %d\n", sigismember(&set, SIGCHLD));
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_SETMASK, &set, NULL);
    fflush(stdout);
    printf("system %#x\n", system("grep SigBlk /proc/self/status"));
    sigprocmask(SIG_SETMASK, NULL, &set);
    printf("blocked %d %d\n", sigismember(&set, SIGCHLD), sigismember(&set, SIGUSR1));
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    errno = 0;
    int ended = system("-x 2>/dev/null");
    printf("system %#x %d\n", ended, errno);
    ended = system("");
    printf("system %#x\n", ended);
}

static void *one_shell(void *number) {
    char line[64];
    snprintf(line, sizeof line, "sleep 0.0%ld; exit %ld", (long)number % 7, (long)number);
    return (void *)(long)system(line);
}

static void threads(void) {
    pthread_t all[8];
    struct sigaction now;
    for (long i = 0; i < 8; i++) pthread_create(&all[i], NULL, one_shell, (void *)i);
    for (int i = 0; i < 8; i++) {
        void *said;
        pthread_join(all[i], &said);
        printf("thread %#lx\n", (long)said);
    }
    sigaction(SIGQUIT, NULL, &now);
    printf("restored %d\n", now.sa_handler == count);
    all_quiet("threads");
}

static int ready[2];

static void *is_cancelled(void *what) {
    static char *argv[] = {"true", NULL};
    const char *kind = what;
    pid_t pid;
    int status;
    if (!strcmp(kind, "system")) {
        char line[100];
        snprintf(line, sizeof line, "echo >&%d; exec sleep 1", ready[1]);
        return (void *)(long)system(line);
    }
    /* The request is pending when the call is made. */
    pthread_cancel(pthread_self());
    if (!strcmp(kind, "spawn")) {
        int error = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        if (!error) waitpid(pid, &status, 0);
        return (void *)(long)error;
    }
    if (!strcmp(kind, "missing")) {
        execve("/no/such", argv, environ);
        return (void *)(long)errno;
    }
    if (!strcmp(kind, "popen")) {
        FILE *f = popen("exit 3", "r");
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        return (void *)(long)pclose(f);
    }
    if (!strcmp(kind, "pclose")) {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        FILE *f = popen("exit 3", "r");
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        status = pclose(f);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        return (void *)(long)status;
    }
    return NULL;
}

static void cancelled(const char *kind) {
    pthread_t thread;
    struct sigaction now;
    void *said;
    char byte;
    fflush(stdout);
    if (pipe(ready)) return;
    pthread_create(&thread, NULL, is_cancelled, (void *)kind);
    if (!strcmp(kind, "system")) {
        if (read(ready[0], &byte, 1) != 1) return;
        pthread_cancel(thread);
    }
    pthread_join(thread, &said);
    if (said == PTHREAD_CANCELED) printf("%s: cancelled\n", kind);
    else printf("%s: said %#lx\n", kind, (long)said);
    close(ready[0]);
    close(ready[1]);
    sigaction(SIGQUIT, NULL, &now);
    printf("restored %d\n", now.sa_handler == count);
    all_quiet(kind);
}

/* Nothing can be opened any more. */
static void no_descriptors(void) {
    char *argv[] = {"sh", "-c", "exit 3", NULL};
    struct rlimit limit = {4, 4};
    pid_t pid;
    int status = 0, error;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_NOFILE, &limit);
        error = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
        if (!error) waitpid(pid, &status, 0);
        printf("full: spawn %d %#x\n", error, status);
        printf("full: system %#x\n", system("exit 4"));
        errno = 0;
        printf("full: popen %d", popen("exit 4", "r") != NULL);
        printf(" %d\n", errno);
        fflush(stdout);
        execv("/bin/sh", argv);
        printf("full: exec %d\n", errno);
        fflush(stdout);
        _exit(9);
    }
    waitpid(pid, &status, 0);
    printf("full: %#x\n", status);
}

/* Of glibc 2.39, so that it may be the preloaded library's alone. */
static int by_pidfd(void) {
    char *argv[] = {"sh", "-c", "exit 3", NULL};
    int (*spawn)(int *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
                 char *const[]);
    *(void **)&spawn = dlsym(RTLD_DEFAULT, "pidfd_spawnp");
    posix_spawn_file_actions_t actions, zeroed;
    siginfo_t info = {0};
    int fd = -1;
    memset(&zeroed, 0, sizeof zeroed);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, 0);
    posix_spawn_file_actions_addclose(&zeroed, 0);
    printf("spawned %d", spawn(&fd, "sh", &actions, NULL, argv, environ));
    printf(" %d", fcntl(fd, F_GETFD));
    printf(" %d", waitid(3 /* P_PIDFD */, fd, &info, WEXITED));
    printf(" %d\n", info.si_status);
    printf("spawned %d", spawn(&fd, "sh", &zeroed, NULL, argv, environ));
    printf(" %d\n", waitid(3, fd, &info, WEXITED));
    printf("missing %d\n", spawn(&fd, "/no/such", NULL, NULL, argv, environ));
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "pidfd")) return by_pidfd();
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    signal(SIGCHLD, count);
    modes();
    streams();
    closed_standard();
    children = 0;
    signals();
    signal(SIGCHLD, SIG_DFL);
    children = interrupts = quits = 0;
    threads();
    const char *kinds[] = {"system", "spawn", "missing", "popen", "pclose"};
    for (int i = 0; i < 5; i++) cancelled(kinds[i]);
    no_descriptors();
    return 0;
}
