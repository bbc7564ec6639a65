/* The smallest program in C: shows that the harness compiles and copies one. */
#include <stdio.h>

int main(void)
{
    puts("hello from C");
    return 0;
}
