/* A disk that fails on demand, loaded before the C library. The file that DIMED_FAULTS names says how, in one line:
 *
 *     CALLS PART ACTION NUMBER
 *
 * CALLS are names joined by commas: write, sync, rename. PART must be part of the path, or its end if it ends with "$". ACTION: "error" fails with that errno;
 * "once" the same, the first time only; "told" the same, and then, whatever the file says, once for each other descriptor of such a
 * path that was open at that time and syncs, as Linux tells them; "short" writes half; "full" writes half as long as more than NUMBER octets are left, then ENOSPC; "sleep" waits that many
 * milliseconds first. An empty file: nothing fails. For each call that went wrong, an octet is added to the file of that name with
 * ".hits" behind it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct fault {
    char calls[64], part[256], action[16];
    long number;
};

static void count(const char *control)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.hits", control);
    int file = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_write, file, ".", 1);
    syscall(SYS_close, file);
}

static int has_happened(const char *control)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.hits", control);
    return syscall(SYS_faccessat, AT_FDCWD, name, F_OK) == 0;
}

static int is_meant(const char *path, const char *part)
{
    size_t length = strlen(part), whole = strlen(path);
    if (length == 0 || part[length - 1] != '$')
        return strstr(path, part) != NULL;
    length--;
    return whole >= length && !strncmp(path + whole - length, part, length);
}

/* Whether the call is to go wrong, and how. */
static int find(const char *call, const char *path, struct fault *fault)
{
    const char *control = getenv("DIMED_FAULTS");
    char line[512];
    if (!control)
        return 0;
    int file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    long length = syscall(SYS_read, file, line, sizeof line - 1);
    syscall(SYS_close, file);
    if (length <= 0)
        return 0;
    line[length] = 0;
    if (sscanf(line, "%63s %255s %15s %ld", fault->calls, fault->part, fault->action, &fault->number) != 4)
        return 0;
    if (!strstr(fault->calls, call) || !is_meant(path, fault->part))
        return 0;
    if (!strcmp(fault->action, "sleep")) {
        struct timespec span = {fault->number / 1000, fault->number % 1000 * 1000000};
        nanosleep(&span, NULL);
        return 0;
    }
    if ((!strcmp(fault->action, "once") || !strcmp(fault->action, "told")) && has_happened(control))
        return 0;
    count(control);
    return 1;
}

/* Whether it is a file with a name. */
static int path_of(int descriptor, char path[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, 4095);
    if (length <= 0 || path[0] != '/')
        return 0;
    path[length] = 0;
    return 1;
}

static int find_by_descriptor(const char *call, int descriptor, struct fault *fault)
{
    char path[4096];
    return path_of(descriptor, path) && find(call, path, fault);
}

/* The error that a descriptor has yet to be told. */
static long untold[4096];

#define DESCRIPTORS (int)(sizeof untold / sizeof untold[0])

static void tell_others(int descriptor, const struct fault *fault)
{
    char path[4096];
    for (int other = 0; other < DESCRIPTORS; other++)
        if (other != descriptor && path_of(other, path) && is_meant(path, fault->part))
            untold[other] = fault->number;
}

static long tell(int descriptor)
{
    if (descriptor < 0 || descriptor >= DESCRIPTORS)
        return 0;
    long number = untold[descriptor];
    untold[descriptor] = 0;
    return number;
}

/* How many octets are to be written: all, some, or none with an error. */
static long allowed(int descriptor, long count)
{
    struct fault fault;
    if (!find_by_descriptor("write", descriptor, &fault))
        return count;
    if (!strcmp(fault.action, "short"))
        return count > 1 ? count / 2 : count;
    if (!strcmp(fault.action, "full") && count > fault.number)
        return count / 2;
    errno = strcmp(fault.action, "full") ? fault.number : ENOSPC;
    return -1;
}

static int synced(int descriptor)
{
    struct fault fault;
    long number = tell(descriptor);
    if (number) {
        errno = number;
        return -1;
    }
    if (!find_by_descriptor("sync", descriptor, &fault))
        return 0;
    if (!strcmp(fault.action, "told"))
        tell_others(descriptor, &fault);
    errno = fault.number;
    return -1;
}

ssize_t write(int descriptor, const void *octets, size_t count)
{
    long some = allowed(descriptor, count);
    return some < 0 ? -1 : syscall(SYS_write, descriptor, octets, some);
}

ssize_t pwrite64(int descriptor, const void *octets, size_t count, off64_t offset)
{
    long some = allowed(descriptor, count);
    return some < 0 ? -1 : syscall(SYS_pwrite64, descriptor, octets, some, offset);
}

ssize_t pwrite(int descriptor, const void *octets, size_t count, off_t offset)
{
    return pwrite64(descriptor, octets, count, offset);
}

int fsync(int descriptor)
{
    return synced(descriptor) ? -1 : syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor)
{
    return synced(descriptor) ? -1 : syscall(SYS_fdatasync, descriptor);
}

/* The next file with that descriptor is another one. */
int close(int descriptor)
{
    tell(descriptor);
    return syscall(SYS_close, descriptor);
}

int rename(const char *from, const char *to)
{
    struct fault fault;
    if (!find("rename", to, &fault))
        return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    errno = fault.number;
    return -1;
}
