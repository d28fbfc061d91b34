/* Tells what a parent learns of its children, all of which execute this program again: a transcript
 * without numbers of processes and without times. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *own;
static sigset_t chld;

static void become(const char *what, const char *with) {
    execl(own, own, what, with, (char *)0);
    _exit(99);
}

static pid_t start(const char *what, const char *with) {
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) become(what, with);
    return pid;
}

/* The next SIGCHLD. */
static void signalled(const char *of, pid_t pid) {
    siginfo_t i;
    struct timespec patience = {20, 0};
    int signal = sigtimedwait(&chld, &i, &patience);
    if (signal < 0) {
        printf("%s: no SIGCHLD (%s)\n", of, strerror(errno));
        return;
    }
    printf("%s: SIGCHLD code %d status %d, of %s, uid %s\n", of, i.si_code, i.si_status,
           i.si_pid == pid ? "it" : "another", i.si_uid == getuid() ? "mine" : "another's");
}

static void waited(const char *of, pid_t pid, int options) {
    siginfo_t i;
    memset(&i, 0, sizeof i);
    int done = waitid(P_PID, pid, &i, options);
    printf("%s: waitid(%x) %d %s, code %d status %d\n", of, options, done,
           done ? strerror(errno) : "", i.si_code, i.si_status);
}

static void ends(void) {
    static const struct {
        const char *what, *with;
    } all[] = {{"exit", "0"}, {"exit", "3"}, {"exit", "255"}, {"die", "15"}, {"die", "9"},
               {"die", "3"},  {"die", "11"}, {"die", "14"},   {"die", "34"}, {"thread", "7"}};
    for (unsigned n = 0; n < sizeof all / sizeof *all; n++) {
        char name[32];
        snprintf(name, sizeof name, "%s %s", all[n].what, all[n].with);
        pid_t pid = start(all[n].what, all[n].with);
        signalled(name, pid);
        waited(name, pid, WEXITED | WNOWAIT);
        int status = 0;
        printf("%s: waitpid %d, %x\n", name, waitpid(pid, &status, 0) == pid, status);
        waited(name, pid, WEXITED);
    }
}

static void stops(void) {
    int ready[2];
    if (pipe(ready)) return;
    char number[16];
    snprintf(number, sizeof number, "%d", ready[1]);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        /* In a group without a parent outside of it nobody is stopped by SIGTSTP. */
        setpgid(0, 0);
        become("pause", number);
    }
    char byte;
    if (read(ready[0], &byte, 1) != 1) return;
    for (int n = 0; n < 2; n++) {
        kill(pid, n ? SIGTSTP : SIGSTOP);
        signalled("stop", pid);
        waited("stop", pid, WSTOPPED | WNOWAIT);
        waited("stop", pid, WSTOPPED);
        waited("stop", pid, WSTOPPED | WNOHANG);
        kill(pid, SIGCONT);
        signalled("continue", pid);
        waited("continue", pid, WCONTINUED);
        waited("continue", pid, WCONTINUED | WNOHANG);
    }
    /* Only stopped, then killed. */
    kill(pid, SIGSTOP);
    signalled("stop", pid);
    kill(pid, SIGKILL);
    signalled("killed", pid);
    waited("killed", pid, WEXITED | WSTOPPED | WCONTINUED);
    close(ready[0]);
    close(ready[1]);
}

static void nobody(int sig) { (void)sig; }

static void without_zombies(void) {
    struct sigaction action = {.sa_handler = nobody, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &action, 0);
    pid_t pid = start("exit", "3");
    signalled("no zombie", pid);
    int status;
    printf("no zombie: waitpid %d %s\n", waitpid(pid, &status, 0), strerror(errno));
    signal(SIGCHLD, SIG_DFL);
}

/* A child with another signal, which it loses by its exec. */
static void cloned(void) {
    fflush(stdout);
    sigset_t both = chld;
    sigaddset(&both, SIGUSR2);
    sigprocmask(SIG_BLOCK, &both, 0);
    pid_t pid = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
    if (!pid) become("exit", "4");
    siginfo_t i;
    struct timespec patience = {20, 0};
    int signal = sigtimedwait(&both, &i, &patience), status = 0;
    printf("clone: signal %d code %d status %d\n", signal, i.si_code, i.si_status);
    printf("clone: waited %d", waitpid(pid, &status, 0) == pid);
    printf(" %x\n", status);
}

static void families(void) {
    int p[2];
    if (pipe(p)) return;
    char number[16], line[64];
    snprintf(number, sizeof number, "%d", p[1]);
    for (int reaper = 1; reaper >= 0; reaper--) {
        prctl(PR_SET_CHILD_SUBREAPER, reaper);
        waitpid(start("orphan", number), 0, 0);
        int parent = 0;
        if (read(p[0], &parent, sizeof parent) != sizeof parent) return;
        printf("orphan: its parent is %s\n", parent == getpid() ? "me" : parent == 1 ? "1" : "another");
        if (reaper) {
            int status = 0;
            wait(&status);
            printf("orphan: ended with %x\n", status);
        }
    }
    waitpid(start("bereaved", number), 0, 0);
    int got = 0;
    if (read(p[0], &got, sizeof got) != sizeof got) return;
    printf("parent-death signal: %d\n", got);
    while (sigtimedwait(&chld, (siginfo_t *)line, &(struct timespec){0, 0}) > 0) {}
    close(p[0]);
    close(p[1]);
}

static void groups(void) {
    int ready[2];
    if (pipe(ready)) return;
    char number[16], byte;
    snprintf(number, sizeof number, "%d", ready[1]);
    pid_t pid = start("pause", number);
    if (read(ready[0], &byte, 1) != 1) return;
    int done = setpgid(pid, pid);
    printf("setpgid after its exec: %d %s\n", done, done ? strerror(errno) : "");
    printf("its group is %s, its session %s\n", getpgid(pid) == getpgrp() ? "mine" : "another",
           getsid(pid) == getsid(0) ? "mine" : "another");
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
    fflush(stdout);
    if (!(pid = fork())) {
        setpgid(0, 0);
        become("pause", number);
    }
    if (read(ready[0], &byte, 1) != 1) return;
    printf("its group is %s\n", getpgid(pid) == pid ? "its own" : "another");
    printf("kill of its group: %d\n", kill(-pid, SIGTERM));
    waited("group", pid, WEXITED);
    while (sigtimedwait(&chld, 0, &(struct timespec){0, 0}) > 0) {}
    waitpid(start("session", "0"), 0, 0);
    sigtimedwait(&chld, 0, &(struct timespec){0, 0});
    close(ready[0]);
    close(ready[1]);
}

/* A job in the background of a terminal of its own session. */
static void terminal(void) {
    int master, slave;
    if (openpty(&master, &slave, 0, 0, 0)) {
        puts("no terminal");
        return;
    }
    fflush(stdout);
    pid_t leader = fork();
    if (!leader) {
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        struct termios t;
        tcgetattr(slave, &t);
        t.c_lflag |= TOSTOP;
        tcsetattr(slave, TCSANOW, &t);
        char number[16];
        snprintf(number, sizeof number, "%d", slave);
        pid_t job = fork();
        if (!job) {
            setpgid(0, 0);
            become("write", number);
        }
        setpgid(job, job);
        int status = 0;
        waitpid(job, &status, WUNTRACED);
        printf("job: %x\n", status);
        printf("foreground: %d\n", tcsetpgrp(slave, job));
        printf("is it: %d\n", tcgetpgrp(slave) == job);
        kill(-job, SIGCONT);
        waitpid(job, &status, WUNTRACED);
        printf("job: %x\n", status);
        /* The leader is in the background now. */
        signal(SIGTTOU, SIG_IGN);
        printf("back: %d\n", tcsetpgrp(slave, getpgrp()));
        fflush(stdout);
        _exit(0);
    }
    waitpid(leader, 0, 0);
    sigtimedwait(&chld, 0, &(struct timespec){0, 0});
    close(master);
    close(slave);
}

static void *leave(void *status) {
    exit(atoi(status));
    return 0;
}

static int child(const char *what, const char *with) {
    int number = atoi(with);
    sigset_t none;
    sigemptyset(&none);
    if (!strcmp(what, "exit")) return number;
    if (!strcmp(what, "die")) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        sigprocmask(SIG_SETMASK, &none, 0);
        raise(number);
    }
    if (!strcmp(what, "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, leave, (void *)with);
        for (;;) pause();
    }
    if (!strcmp(what, "pause")) {
        sigprocmask(SIG_SETMASK, &none, 0);
        if (write(number, "", 1) != 1) return 1;
        for (;;) pause();
    }
    if (!strcmp(what, "orphan")) {
        char number[16];
        snprintf(number, sizeof number, "%d", getpid());
        setenv("BETWEEN", number, 1);
        start("child", with);
        _exit(0);
    }
    if (!strcmp(what, "child")) {
        /* Until the one in between is gone. */
        int between = atoi(getenv("BETWEEN")), parent;
        while ((parent = getppid()) == between) usleep(1000);
        return write(number, &parent, sizeof parent) != sizeof parent;
    }
    if (!strcmp(what, "heir")) {
        /* Blocked, and asked for, before this exec, by the same process. */
        sigset_t usr1;
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        int got = sigwaitinfo(&usr1, 0);
        return write(number, &got, sizeof got) != sizeof got;
    }
    if (!strcmp(what, "bereaved")) {
        if (!fork()) {
            sigset_t usr1;
            sigemptyset(&usr1);
            sigaddset(&usr1, SIGUSR1);
            sigprocmask(SIG_BLOCK, &usr1, 0);
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            become("heir", with);
        }
        usleep(100000);
        _exit(0);
    }
    if (!strcmp(what, "session")) {
        int sid = setsid();
        printf("session: %d, group %d\n", sid == getpid(), getpgrp() == getpid());
        printf("again: %d", setsid());
        printf(" %s\n", strerror(errno));
        fflush(stdout);
        return 0;
    }
    if (!strcmp(what, "write")) {
        sigprocmask(SIG_SETMASK, &none, 0);
        return write(number, "x", 1) != 1;
    }
    return 98;
}

int main(int argc, char **argv) {
    own = argv[0];
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (argc > 2) return child(argv[1], argv[2]);
    sigprocmask(SIG_BLOCK, &chld, 0);
    /* Rather dead than stuck. */
    alarm(120);
    ends();
    stops();
    without_zombies();
    cloned();
    families();
    groups();
    terminal();
    puts("over");
    return 0;
}
