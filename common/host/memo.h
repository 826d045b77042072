/* SPDX-License-Identifier: BSD-2-Clause */
/* memo: a few numbers that outlive a kill: what kernel settings were, and what they were set to.
 * See memo.c. */
#ifndef PLAIT_MEMO_H
#define PLAIT_MEMO_H

#include <stddef.h>

#define MEMO_MAX 72
#define MEMO_PATH 108

struct memo {
	char key[64]; /* without blanks, and never up and out ("../") */
	long was, set;
};

/* Where the program of this name keeps them: a file below /run/plait, of this network namespace and
 * no other. */
void memo_path(char path[MEMO_PATH], const char *program);

/* How many there are; 0 also when the file is not exactly what memo_save() writes, or not ours. */
size_t memo_load(const char *path, struct memo out[MEMO_MAX]);

/* All or nothing. 0 or a negative errno. */
int memo_save(const char *path, const struct memo *list, size_t count);
void memo_remove(const char *path);

#endif
