/* A disk whose flush takes 2 ms: preloaded into a server. */
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file)
{
    usleep(2000);
    return (int) syscall(SYS_fdatasync, file);
}
