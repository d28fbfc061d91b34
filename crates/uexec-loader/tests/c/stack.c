/* Writes what the stack holds when the program starts, from the page below its stack pointer to its
   end, with the random bytes set to zero. Without a C library. */
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

__attribute__((used)) void begin(unsigned long *sp) {
    unsigned long *at = sp + 1 + sp[0] + 1;
    char *name = 0, *bytes = 0;
    while (*at) at++;
    for (at++; *at; at += 2) {
        if (at[0] == 25) bytes = (char *)at[1];
        if (at[0] == 31) name = (char *)at[1];
    }
    for (int i = 0; i < 16; i++) bytes[i] = 0;
    while (*name) name++;
    unsigned long from = ((unsigned long)sp & ~4095ul), to = (unsigned long)name + 9;
    /* What lies further down must be zero. */
    long status = 0;
    for (unsigned long page = from - 8 * 4096; page < from; page += 8)
        if (*(unsigned long *)page && page < (unsigned long)&status - 4096) status = 1;
    while (from < to) {
        long n = call(1, 1, from, to - from);
        if (n <= 0) status = 2, from = to; else from += n;
    }
    call(231, status, 0, 0);
}

__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
