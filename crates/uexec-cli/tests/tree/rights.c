/* Gives up rights in one way after the other, and executes each file in each way: what has become
 * of it is printed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, GROUP = 12 };

static void caps(unsigned effective) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    syscall(SYS_capget, &header, data);
    data[0].effective = effective;
    data[1].effective = 0;
    if (syscall(SYS_capset, &header, data)) perror("capset");
}

static void ids(int groups, int id) {
    gid_t group = GROUP;
    if (setgroups(groups, &group) || setgid(id) || setuid(id)) perror("ids");
}

static void nothing(void) {}
static void user(void) { ids(0, NOBODY); }
static void user_of_group(void) { ids(1, NOBODY); }
static void effective_user(void) {
    if (setegid(NOBODY) || seteuid(NOBODY)) perror("effective");
}
static void file_user(void) { setfsgid(NOBODY), setfsuid(NOBODY); }
static void no_caps(void) { caps(0); }
static void some_caps(void) { caps(1 << CAP_DAC_OVERRIDE); }
static void user_with_caps(void) {
    prctl(PR_SET_KEEPCAPS, 1);
    user();
    caps(1 << CAP_DAC_OVERRIDE);
}
static void own_namespace(void) {
    if (unshare(CLONE_NEWUSER)) puts("no namespace");
}
static void users_namespace(void) { user(), own_namespace(); }

static const struct {
    const char *name;
    void (*give_up)(void);
} WAYS[] = {
    {"nothing", nothing},
    {"user", user},
    {"user of a group", user_of_group},
    {"effective user", effective_user},
    {"file user", file_user},
    {"no capabilities", no_caps},
    {"one capability", some_caps},
    {"user with a capability", user_with_caps},
    {"namespace", own_namespace},
    {"user's namespace", users_namespace},
};

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (unsigned i = 0; i < sizeof WAYS / sizeof *WAYS; i++)
        for (int k = 1; k < argc; k++) {
            printf("%s, %s: ", WAYS[i].name, argv[k]);
            pid_t child = fork();
            if (!child) {
                char *words[] = {argv[k], "word", 0};
                WAYS[i].give_up();
                execv(argv[k], words);
                printf("%s\n", strerror(errno));
                _exit(99);
            }
            int status;
            waitpid(child, &status, 0);
            printf("    status %x\n", status);
        }
}
