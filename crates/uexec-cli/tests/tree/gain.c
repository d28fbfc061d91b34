/* Tries what is forbidden, one thing after the other and each in a process of its own: how it went
 * is printed. With words, those are executed and what they print is what they are. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY);
    return fd < 0 ? fd : write(fd, text, strlen(text)) < 0 ? -1 : 0;
}
static int writable(const char *file) { return open(file, O_WRONLY) < 0 ? -1 : 0; }
static int enter(const char *file, int kind) {
    int fd = open(file, O_RDONLY);
    return fd < 0 ? fd : setns(fd, kind);
}
static int binds(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&at, sizeof at);
}
static int repairs(void) {
    int one = 1;
    return setsockopt(socket(AF_INET, SOCK_STREAM, 0), IPPROTO_TCP, TCP_REPAIR, &one, sizeof one);
}
static int all_caps(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{~0u, ~0u, 0}, {0x1ff, 0x1ff, 0}};
    return syscall(SYS_capset, &header, data);
}
static int takes_pid(void) {
    pid_t wanted = 31999;
    struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)&wanted,
                              .set_tid_size = 1};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (!pid) _exit(0);
    return pid < 0 && errno != EEXIST ? -1 : 0;
}
static int device(void) {
    unlink("gain-device");
    return mknod("gain-device", S_IFCHR | 0600, 1 << 8 | 1) || open("gain-device", O_RDONLY) < 0
               ? -1 : 0;
}
static int raises(int what) {
    struct rlimit limit;
    getrlimit(what, &limit);
    limit.rlim_cur = limit.rlim_max += 1;
    return setrlimit(what, &limit);
}
static int caps_of_file(void) {
    unsigned data[5] = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, 1 << CAP_SYS_ADMIN};
    int fd = open("gain-own", O_CREAT | O_RDWR, 0700);
    return fsetxattr(fd, "security.capability", data, sizeof data, 0);
}
static int mounts(void) {
    return unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) ||
           mount("none", "/mnt", "tmpfs", 0, 0);
}
static int registers(void) {
    return put("/proc/sys/fs/binfmt_misc/register", ":gain:M::gain::/bin/sh:");
}
static int fifo(void) { return sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}); }
static int file_user(void) { return setfsuid(0), setfsuid(-1) == 0 ? 0 : (errno = EPERM, -1); }
static int raw(void) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 ? -1 : 0; }
static int opens(const char *file) { return open(file, O_RDWR) < 0 ? -1 : 0; }

static int number;
static void told(const char *name, int failed) {
    printf("%s: %s\n", name, failed ? strerror(errno) : "ok");
}
#define TRY(what)                                                                                  \
    do {                                                                                           \
        fflush(stdout);                                                                            \
        pid_t child = fork();                                                                      \
        if (!child) alarm(20), errno = 0, told(#what, (what) != 0), fflush(stdout), _exit(0); \
        int status;                                                                                \
        waitpid(child, &status, 0);                                                                \
        if (status) printf("%s: ended %x\n", #what, status);                                       \
        number++;                                                                                  \
    } while (0)

static void anybody(void) {
    TRY(put("/proc/self/uid_map", "0 0 1"));
    TRY(put("/proc/self/gid_map", "0 0 1"));
    TRY(put("/proc/self/projid_map", "0 0 1"));
    TRY(put("/proc/self/setgroups", "allow"));
    TRY(put("/proc/self/oom_score_adj", "-900"));
    TRY(writable("/proc/1/oom_score_adj"));
    TRY(writable("/proc/sys/kernel/core_pattern"));
    TRY(writable("/proc/sys/kernel/modprobe"));
    TRY(writable("/proc/sys/kernel/randomize_va_space"));
    TRY(writable("/proc/sys/vm/overcommit_memory"));
    TRY(writable("/proc/sys/user/max_user_namespaces"));
    TRY(writable("/proc/sys/net/ipv4/ip_forward"));
    TRY(put("/proc/sys/fs/binfmt_misc/status", "1"));
    TRY(setuid(0));
    TRY(setgid(0));
    TRY(setresuid(0, 0, 0));
    TRY(setresuid(-1, 1, -1));
    TRY(file_user());
    TRY(setgroups(0, 0));
    TRY(setgroups(1, &(gid_t){0}));
    TRY(all_caps());
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY(prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0));
    TRY(prctl(PR_SET_SECUREBITS, 1, 0, 0, 0));
    TRY(mounts());
    TRY(mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    TRY(umount2("/nothing", 0));
    TRY(chroot("/"));
    TRY(syscall(SYS_pivot_root, "/", "/"));
    TRY(unshare(CLONE_NEWNS));
    TRY(unshare(CLONE_NEWPID));
    TRY(unshare(CLONE_NEWUTS));
    TRY(unshare(CLONE_NEWUSER));
    TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    TRY(enter("/proc/1/ns/user", CLONE_NEWUSER));
    TRY(enter("/proc/1/ns/mnt", CLONE_NEWNS));
    TRY(enter("/proc/self/ns/mnt", CLONE_NEWNS));
    TRY(enter("/proc/self/ns/user", CLONE_NEWUSER));
    TRY(device());
    TRY(caps_of_file());
    TRY(chown("gain-own", 0, 0));
    TRY(chown("gain-own", 77, 77));
    TRY(opens("gain-secret"));
    TRY(chmod("gain-secret", 0666));
    TRY(opens("/dev/mem"));
    TRY(opens("/proc/1/mem"));
    TRY(opens("/proc/kcore"));
    TRY(raises(RLIMIT_NPROC));
    TRY(raises(RLIMIT_NOFILE));
    TRY(setpriority(PRIO_PROCESS, 0, -5));
    TRY(fifo());
    TRY(syscall(SYS_settimeofday, 0, 0));
    TRY(syscall(SYS_sethostname, "", -1));
    TRY(swapon("/nothing", 0));
    TRY(syscall(SYS_finit_module, -1, "", 0));
    TRY(syscall(SYS_fanotify_init, FAN_CLASS_CONTENT, 0) < 0);
    TRY(syscall(SYS_open_by_handle_at, -1, 0, 0));
    TRY(syscall(SYS_bpf, 5, 0, 0));
    TRY(takes_pid());
    TRY(repairs());
    TRY(raw());
    TRY(binds(9));
    TRY(kill(1, 0));
    TRY(ptrace(PTRACE_SEIZE, 1, 0, 0));
}

/* Whoever traces this: nothing of it is this one's, not even while it looks at files. */
static void tracer(int pid) {
    char *words[] = {"/bin/true", 0};
    char mem[64];
    sprintf(mem, "/proc/%d/mem", pid);
    pid_t busy = fork();
    if (!busy)
        for (;;) {
            if (!vfork()) execv(words[0], words), _exit(1);
            wait(0);
        }
    int gained[8] = {0};
    for (int i = 0; i < 1500; i++) {
        gained[0] += !kill(pid, 0);
        gained[1] += !ptrace(PTRACE_SEIZE, pid, 0, 0);
        gained[2] += open(mem, O_RDWR) >= 0;
        gained[3] += !setpriority(PRIO_PROCESS, pid, 19);
        gained[4] += !syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, &(struct rlimit){0});
        gained[5] += !sched_setscheduler(pid, SCHED_BATCH, &(struct sched_param){0});
        sprintf(mem, "/proc/%d/%s", pid, i % 2 ? "mem" : "environ");
        int fd = syscall(SYS_pidfd_open, pid, 0);
        gained[6] += syscall(SYS_pidfd_getfd, fd, 0, 0) >= 0;
        gained[7] += !syscall(SYS_pidfd_send_signal, fd, 0, 0, 0);
        close(fd);
    }
    kill(busy, SIGKILL);
    waitpid(busy, 0, 0);
    for (int i = 0; i < 8; i++)
        if (gained[i]) printf("the tracer, %d: %d times\n", i, gained[i]);
}

static void self(int attack) {
    char line[256];
    int pid = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (!strncmp(line, "Uid", 3) || !strncmp(line, "Gid", 3) || !strncmp(line, "Groups", 6) ||
            !strncmp(line, "Cap", 3))
            printf("is %s", line);
        sscanf(line, "TracerPid: %d", &pid);
    }
    if (status) fclose(status);
    DIR *fds = opendir("/proc/self/fd");
    for (struct dirent *one; fds && (one = readdir(fds));)
        if (*one->d_name != '.' && atoi(one->d_name) != dirfd(fds))
            printf("is fd %s\n", one->d_name);
    if (fds) closedir(fds);
    /* One's own may be killed and traced, as everybody's own. */
    struct stat of;
    sprintf(line, "/proc/%d", pid);
    if (attack && pid && geteuid() && !stat(line, &of) && of.st_uid != geteuid())
        tracer(pid);
}

int main(int argc, char **argv) {
    self(argc < 2);
    for (int i = 1; i < argc && strcmp(argv[i], "-"); i++) {
        fflush(stdout);
        pid_t child = fork();
        char *words[] = {argv[i], "-", 0};
        if (!child) execv(argv[i], words), printf("%s: %s\n", argv[i], strerror(errno)), exit(0);
        waitpid(child, 0, 0);
    }
    if (argc > 1) return 0;
    if (geteuid()) TRY(registers());
    anybody();
    fflush(stdout);
    char map[64];
    int uid = geteuid(), gid = getegid();
    pid_t child = fork();
    if (!child) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) return puts("own namespace: none"), 0;
        put("/proc/self/setgroups", "deny");
        sprintf(map, "0 %d 1", uid);
        TRY(put("/proc/self/uid_map", map));
        put("/proc/self/uid_map", map);
        sprintf(map, "0 %d 1", gid);
        put("/proc/self/gid_map", map);
        puts("in a namespace of its own");
        self(1);
        anybody();
        TRY(umount2("/proc/sys/fs/binfmt_misc", MNT_DETACH));
        TRY(umount2("/proc", MNT_DETACH));
        printf("tried %d\n", number);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, 0, 0);
    printf("tried %d\n", number);
}
