#include <stdio.h>

int main(void)
{
	printf("adafs %s\n", ADAFS_VERSION);
	return 0;
}
