/* Runs a program one instruction at a time and prints, to the file named first, the offset of each instruction from the program's start the
 * first time that it runs: `steps OUT PROGRAM WORD...`. What the program starts runs by itself. Linux on x86-64. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char seen[64 << 20];

static int fail(const char *what) {
    perror(what);
    return 125;
}

int main(int count, char **words) {
    if (count < 3) return fail("usage: steps OUT PROGRAM WORD...");
    FILE *out = fopen(words[1], "w");
    if (!out) return fail(words[1]);
    pid_t program = fork();
    if (program == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(words[2], words + 2);
        _exit(127);
    }
    int status;
    if (waitpid(program, &status, 0) < 0 || !WIFSTOPPED(status)) return fail("start");
    ptrace(PTRACE_SETOPTIONS, program, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL);
    char name[64];
    unsigned long start = 0;
    snprintf(name, sizeof name, "/proc/%d/maps", program);
    FILE *maps = fopen(name, "r");
    if (!maps || fscanf(maps, "%lx", &start) != 1) return fail(name);
    fclose(maps);
    for (;;) {
        struct user_regs_struct now;
        if (ptrace(PTRACE_GETREGS, program, 0, &now) == 0) {
            unsigned long offset = now.rip - start;
            if (offset < sizeof seen && !seen[offset]) {
                seen[offset] = 1;
                fprintf(out, "%lx\n", offset);
            }
        }
        ptrace(PTRACE_SINGLESTEP, program, 0, 0);
        for (;;) {
            pid_t who = waitpid(-1, &status, __WALL);
            if (who == program || who < 0) break;
            if (WIFSTOPPED(status)) ptrace(PTRACE_DETACH, who, 0, 0);
        }
        if (WIFEXITED(status)) return fclose(out) || WEXITSTATUS(status);
        if (WIFSIGNALED(status)) return 126;
    }
}
