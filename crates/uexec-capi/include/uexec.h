/* uexec: program execution for Linux/x86-64 in user space, for C.
 *
 * The exec family replaces the calling process by a program without the kernel's execve(2). Each
 * function has the semantics of the function of the same name without "uexec_": it returns only
 * when it has failed, -1 with errno set, and then nothing has changed. Unlike the kernel's, these
 * functions read paths and arrays in the caller's process: an address that is not null and cannot
 * be read is the caller's SIGSEGV instead of EFAULT.
 *
 * All functions may be called from several threads at a time. None may be called from a signal handler:
 * they allocate, and a small alternate stack does not hold them.
 */
#ifndef UEXEC_H
#define UEXEC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why the last call failed. All strings end with NUL and are cut to fit. */
struct uexec_error {
    int errnum;       /* as errno; 0 when nothing has failed yet */
    char stage[32];   /* where: a stage such as "open", "binfmt_script", "elf.interp", or a call */
    char file[256];   /* the file at fault, or "" */
    char why[256];    /* the cause, in one sentence without a full stop */
    char hint[256];   /* the remedy, or "" */
};

/* Fills *out (unless it is null) with the last failure of the calling thread; returns its errnum. */
int uexec_last_error(struct uexec_error *out);

/* The exec family. Those with a "p" look for the program in the caller's PATH as execvp(3) does,
 * and let /bin/sh run a file that is no program. */
int uexec_execl(const char *path, const char *arg, ... /*, (char *) NULL */);
int uexec_execlp(const char *file, const char *arg, ... /*, (char *) NULL */);
int uexec_execle(const char *path, const char *arg, ... /*, (char *) NULL, char *const envp[] */);
int uexec_execv(const char *path, char *const argv[]);
int uexec_execvp(const char *file, char *const argv[]);
int uexec_execvpe(const char *file, char *const argv[], char *const envp[]);
int uexec_execve(const char *path, char *const argv[], char *const envp[]);
int uexec_execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags);
int uexec_fexecve(int fd, char *const argv[], char *const envp[]);

/* Would uexec_execve() succeed? 0, or an errno; *why, unless it is null, then says what is the
 * matter. Changes nothing. */
int uexec_explain(const char *path, char *const argv[], char *const envp[],
                  struct uexec_error *why);

/* What is set of struct uexec_how. */
#define UEXEC_SPAWN_SETPGROUP  1u
#define UEXEC_SPAWN_SETSID     2u
#define UEXEC_SPAWN_SETUID     4u
#define UEXEC_SPAWN_SETGID     8u
#define UEXEC_SPAWN_SETGROUPS  16u
#define UEXEC_SPAWN_SETSIGMASK 32u
#define UEXEC_SPAWN_SETSIGDEF  64u
/* The program may have a format that the kernel has lost: a.out. */
#define UEXEC_SPAWN_ALLFORMATS 128u

/* What a child does to itself before it executes its program, in this order: signals get their
 * default action, session, process group, standard streams, groups, group, user, directory, signal
 * mask. Begin with UEXEC_HOW_INIT. */
struct uexec_how {
    size_t size;            /* sizeof(struct uexec_how) */
    unsigned flags;         /* UEXEC_SPAWN_* */
    int stdio[3];           /* descriptors that become 0, 1 and 2, one after the other; -1 keeps */
    const char *dir;        /* working directory; NULL keeps */
    pid_t pgroup;           /* 0 for a group of its own */
    uid_t uid;
    gid_t gid;
    unsigned ngroups;
    const gid_t *groups;    /* supplementary groups */
    uint64_t sigmask;       /* signal 1 is bit 0 */
    uint64_t sigdefault;    /* likewise */
    int *pidfd;             /* where a descriptor of the child is stored; NULL if none is wanted */
};

#define UEXEC_HOW_INIT { sizeof(struct uexec_how), 0, {-1, -1, -1}, NULL, 0, 0, 0, 0, NULL, 0, 0, NULL }

/* Starts a program in a new process, which takes as long from a large process as from a small one.
 * Returns 0 when the program has started, and an errno otherwise, as posix_spawn(3) does: errno is
 * not set, no child is left. `how` may be NULL. uexec_spawnp() looks for the program in the
 * caller's PATH. */
int uexec_spawn(pid_t *pid, const char *path, const struct uexec_how *how, char *const argv[],
                char *const envp[]);
int uexec_spawnp(pid_t *pid, const char *file, const struct uexec_how *how, char *const argv[],
                 char *const envp[]);

#ifdef __cplusplus
}
#endif

#endif
