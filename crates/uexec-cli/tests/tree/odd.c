/* Executes things in odd ways: what has become of each is printed. In an empty directory, with the
 * names of a program that tells what it was given and of one that can live in another root directory,
 * and of the files that this one needs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *tells, *lonely;
static char **needed;
static char here[PATH_MAX];
static char *words[] = {"name", "one", "two words", 0};
extern char **environ;

static int copy(const char *from, int to) {
    int fd = open(from, O_RDONLY);
    while (sendfile(to, fd, 0, 1 << 20) > 0) {}
    close(fd);
    return to;
}

static void file(const char *name, const char *from, int mode) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    close(copy(from, fd));
    chmod(name, mode);
}

static void script(const char *name, const char *interpreter) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    dprintf(fd, "#!%s\n", interpreter);
    close(fd);
    chmod(name, 0755);
}

static void exec(const char *path) { execv(path, words); }

static void at(int dir, const char *path, int flags) {
    syscall(SYS_execveat, dir, path, words, environ, flags);
}

/* Files that somebody writes to. */
static void busy(const char *name) {
    open(name, O_WRONLY | O_CLOEXEC);
}
static void busy_program(void) { busy("program"), exec("program"); }
static void busy_script(void) { script("s", "./program"), busy("s"), exec("./s"); }
static void busy_interpreter(void) { script("s", "./program"), busy("program"), exec("./s"); }
static void busy_later(void) {
    exec("./missing");
    busy("program"), exec("./program");
}

/* Names that start somewhere. */
static void relative(void) { script("s", "./program"), exec("./s"); }
static void relative_absolutely(void) {
    char name[PATH_MAX + 8];
    script("s", "./program");
    snprintf(name, sizeof name, "%s/s", here);
    exec(name);
}
static void relative_elsewhere(void) {
    char name[PATH_MAX + 8];
    script("s", "./program");
    snprintf(name, sizeof name, "%s/s", here);
    chdir("/"), exec(name);
}
static void relative_plain(void) { script("s", "program"), chdir("below"), exec("../s"); }
static void nested(void) { script("s", "./program"), script("t", "s"), exec("./t"); }
static void from_directory(void) { at(open(".", O_RDONLY), "program", 0); }
static void from_closing_directory(void) { at(open(".", O_RDONLY | O_CLOEXEC), "program", 0); }
static void script_from_directory(void) {
    int dir = open(".", O_RDONLY);
    script("s", "./program"), chdir("/"), at(dir, "s", 0);
}
static void script_from_closing_directory(void) {
    int dir = open(".", O_RDONLY | O_CLOEXEC);
    script("s", "./program"), at(dir, "s", 0);
}
static void gone_directory(void) {
    mkdir("gone", 0755), chdir("gone"), rmdir("../gone"), exec("../program");
}
static void from_gone_directory(void) {
    mkdir("gone", 0755), chdir("gone"), rmdir("../gone");
    script("../s", "./program"), exec("../s");
    chdir(here), script("s", "./program");
    char name[PATH_MAX + 8];
    snprintf(name, sizeof name, "%s/s", here);
    mkdir("gone", 0755), chdir("gone"), rmdir("../gone");
    exec(name);
}

/* Files without a name. */
static int memory(int flags) {
    int fd = memfd_create("memory", flags);
    fchmod(fd, 0755);
    return copy(tells, fd);
}
static int readable(int fd, int flags) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = open(name, O_RDONLY | flags);
    close(fd);
    return again;
}
static void memory_file(void) { at(readable(memory(0), 0), "", AT_EMPTY_PATH); }
static void closing_memory_file(void) { at(readable(memory(0), O_CLOEXEC), "", AT_EMPTY_PATH); }
static void memory_file_busy(void) { at(memory(MFD_CLOEXEC), "", AT_EMPTY_PATH); }
static int unlinked(int flags) {
    file("u", tells, 0755);
    int fd = open("u", O_RDONLY | flags);
    unlink("u");
    return fd;
}
static void unlinked_file(void) { at(unlinked(0), "", AT_EMPTY_PATH); }
static void unlinked_closing_file(void) { at(unlinked(O_CLOEXEC), "", AT_EMPTY_PATH); }
static void place_only(void) { at(open("program", O_PATH), "", AT_EMPTY_PATH); }
static void by_name(const char *form, int flags) {
    char name[64];
    snprintf(name, sizeof name, form, unlinked(flags));
    exec(name);
}
static void own_descriptor(void) { by_name("/proc/self/fd/%d", 0); }
static void own_closing_descriptor(void) { by_name("/proc/self/fd/%d", O_CLOEXEC); }
static void threads_descriptor(void) { by_name("/proc/thread-self/fd/%d", O_CLOEXEC); }
static void device_descriptor(void) { by_name("/dev/fd/%d", 0); }
static void device_closing_descriptor(void) { by_name("/dev/fd/%d", O_CLOEXEC); }
static void numbered_descriptor(void) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%020d/fd/%d", getpid(), unlinked(O_CLOEXEC));
    exec(name);
    snprintf(name, sizeof name, "/proc/%d/fd/%d", getpid(), unlinked(O_CLOEXEC));
    symlink(name, "l"), exec("./l");
}
static void linked_descriptor(void) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", unlinked(O_CLOEXEC));
    symlink(name, "l"), exec("./l");
}
static void itself(void) {
    words[0] = "itself";
    exec("/proc/self/exe");
}
static void itself_by_link(void) {
    words[0] = "itself";
    symlink("/proc/self/exe", "l"), exec("./l");
}
static void by_directory_of_own(void) {
    words[0] = "itself";
    at(open("/proc/self", O_RDONLY), "exe", 0);
}
static void by_working_directory(void) { exec("/proc/self/cwd/program"); }
static void by_root(void) {
    char name[2 * PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/root%s/program", here);
    exec(name);
}
static void script_in_memory(int flags) {
    int fd = memfd_create("script", 0);
    dprintf(fd, "#!%s\n", tells);
    fchmod(fd, 0755);
    at(readable(fd, flags), "", AT_EMPTY_PATH);
}
static void memory_script(void) { script_in_memory(0); }
static void closing_memory_script(void) { script_in_memory(O_CLOEXEC); }

/* Another root directory. */
static void root(void) {
    char line[3 * PATH_MAX];
    for (char **name = needed; *name; name++) {
        snprintf(line, sizeof line, "mkdir -p root$(dirname %s); cp %s root%s", *name, *name, *name);
        system(line);
    }
    mkdir("root", 0755), mkdir("root/below", 0755);
    file("root/lonely", lonely, 0755), file("root/tells", tells, 0755);
    script("root/s", "/lonely"), script("root/r", "lonely"), script("root/below/q", "../lonely");
    if (chroot("root")) perror("chroot");
}
static void in_root(void) { root(), chdir("/"), exec("/lonely"); }
static void in_root_relative(void) { root(), chdir("/below"), exec("../lonely"); }
static void in_root_not_found(void) { root(), chdir("/"), exec(tells); }
static void in_root_no_loader(void) { root(), chdir("/"), exec("/tells"); }
static void in_root_script(void) { root(), chdir("/"), exec("/s"); }
static void in_root_relative_script(void) { root(), chdir("/"), exec("/r"); }
static void in_root_elsewhere_script(void) { root(), chdir("/below"), exec("/r"); }
static void in_root_below_script(void) { root(), chdir("/below"), exec("q"), exec("/below/q"); }
static void outside_root(void) { root(), exec("program"); }
static void outside_root_script(void) { script("s", "./program"), root(), exec("./s"); }
static void out_of_root(void) {
    int fd = open("program", O_RDONLY | O_CLOEXEC);
    root(), chdir("/"), at(fd, "", AT_EMPTY_PATH);
}
static void lonely_out_of_root(void) {
    int fd = open(lonely, O_RDONLY);
    root(), chdir("/"), at(fd, "", AT_EMPTY_PATH);
}
static void root_of_user(void) {
    root(), chdir("/"), setgid(65534), setuid(65534), exec("/lonely");
}

/* Other mounts. */
static void mounts(void) {
    if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) perror("mounts");
}
static void no_exec_mount(void) {
    mounts(), mount("none", "below", "tmpfs", MS_NOEXEC, 0);
    file("below/p", tells, 0755), exec("below/p");
}
static void no_exec_later(void) {
    mounts(), mount("none", "below", "tmpfs", 0, 0), file("below/p", tells, 0755);
    if (!fork()) exec("below/p");
    wait(0);
    mount(0, "below", 0, MS_REMOUNT | MS_NOEXEC, 0), exec("below/p");
}
static void only_in_mount(void) {
    mounts(), mount("none", "below", "tmpfs", 0, 0);
    file("below/p", tells, 0755), exec("below/p");
}
static void mounted_over(void) {
    file("other", lonely, 0755), mounts(), mount("other", "program", 0, MS_BIND, 0);
    exec("program");
}

/* Calls that fail, and others. */
static void link_not_followed(void) {
    symlink("program", "l"), exec("./l"), at(AT_FDCWD, "./l", AT_SYMLINK_NOFOLLOW);
}
static void no_descriptor(void) { at(77, "program", 0); }
static void no_descriptor_but_path(void) { at(77, tells, 0); }
static void directory(void) { exec("below"); }
static void directory_by_descriptor(void) { at(open("below", O_RDONLY), "", AT_EMPTY_PATH); }
static void empty(void) { exec(""); }
static void slash(void) { exec("program/"); }
static void unknown_flag(void) { at(AT_FDCWD, "program", 0x40000); }
static void no_address(void) { syscall(SYS_execve, 1, words, environ); }
static void no_words(void) { syscall(SYS_execve, "program", 1, environ); }
static void null_words(void) { syscall(SYS_execve, "program", 0, 0); }
static void empty_words(void) { execve("program", words + 3, environ); }
static void long_name(void) {
    static char name[PATH_MAX + 2];
    memset(name, '/', PATH_MAX + 1), exec(name);
}
static void longest_name(void) {
    static char name[PATH_MAX];
    memset(name, '/', PATH_MAX - 1);
    memcpy(name + PATH_MAX - 1 - strlen(tells), tells, strlen(tells));
    words[1] = 0, exec(name);
}
static void long_word(void) {
    words[1] = malloc(200000), memset(words[1], 'x', 199999), words[1][199999] = 0;
    exec("program");
}
static void fifo(void) { mkfifo("f", 0755), exec("./f"); }
static void device(void) { exec("/dev/null"); }
static void text(void) {
    int fd = open("x", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    dprintf(fd, "echo\n"), close(fd);
    exec("./x");
}
static void in_a_loop(void) { script("s", "./s"), exec("./s"); }
static void after_failures(void) { exec("nothing"), exec("below"), exec("./program"); }
static void after_vfork(void) {
    if (!vfork()) exec("nothing"), exec("program"), _exit(8);
    int status;
    wait(&status);
    printf("child %x, ", status), exec("program");
}
static void with_blocked_signals(void) {
    sigset_t all;
    sigfillset(&all), sigprocmask(SIG_SETMASK, &all, 0), raise(SIGUSR1), exec("program");
}

#define WAY(name) {#name, name}
static const struct {
    const char *name;
    void (*go)(void);
} WAYS[] = {
    WAY(busy_program), WAY(busy_script), WAY(busy_interpreter), WAY(busy_later), WAY(relative),
    WAY(relative_absolutely), WAY(relative_elsewhere), WAY(relative_plain), WAY(nested),
    WAY(from_directory), WAY(from_closing_directory), WAY(script_from_directory),
    WAY(script_from_closing_directory), WAY(gone_directory), WAY(from_gone_directory),
    WAY(memory_file), WAY(closing_memory_file), WAY(memory_file_busy), WAY(unlinked_file),
    WAY(unlinked_closing_file), WAY(place_only), WAY(own_descriptor),
    WAY(own_closing_descriptor), WAY(threads_descriptor), WAY(device_descriptor),
    WAY(device_closing_descriptor), WAY(numbered_descriptor), WAY(linked_descriptor),
    WAY(itself), WAY(itself_by_link), WAY(by_directory_of_own), WAY(by_working_directory),
    WAY(by_root), WAY(memory_script), WAY(closing_memory_script), WAY(in_root),
    WAY(in_root_relative), WAY(in_root_not_found), WAY(in_root_no_loader), WAY(in_root_script),
    WAY(in_root_relative_script), WAY(in_root_elsewhere_script), WAY(in_root_below_script),
    WAY(outside_root), WAY(outside_root_script), WAY(out_of_root), WAY(lonely_out_of_root),
    WAY(root_of_user), WAY(no_exec_mount), WAY(no_exec_later), WAY(only_in_mount),
    WAY(mounted_over), WAY(link_not_followed), WAY(no_descriptor), WAY(no_descriptor_but_path),
    WAY(directory), WAY(directory_by_descriptor), WAY(empty), WAY(slash), WAY(unknown_flag),
    WAY(no_address), WAY(no_words), WAY(null_words), WAY(empty_words), WAY(long_name),
    WAY(longest_name), WAY(long_word), WAY(fifo), WAY(device), WAY(text), WAY(in_a_loop),
    WAY(after_failures), WAY(after_vfork), WAY(with_blocked_signals),
};

int main(int argc, char **argv) {
    if (!strcmp(argv[0], "itself")) return puts("itself"), 0;
    setvbuf(stdout, 0, _IONBF, 0);
    umask(0);
    tells = argv[1], lonely = argv[2], needed = argv + 3;
    for (unsigned i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        system("rm -rf w; mkdir -p w/below");
        chdir("w"), getcwd(here, sizeof here);
        file("program", tells, 0755);
        printf("%s: ", WAYS[i].name);
        pid_t child = fork();
        if (!child) {
            WAYS[i].go();
            printf("%s\n", strerror(errno));
            _exit(99);
        }
        int status;
        waitpid(child, &status, 0);
        printf("    status %x\n", status);
        chdir("..");
    }
    system("rm -rf w");
}
