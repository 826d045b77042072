/* SPDX-License-Identifier: BSD-2-Clause */
/* sysctl: a kernel setting that is one number, by its path below /proc/sys/. Who changes one that
 * was there before him goes by settings.h. */
#ifndef PLAIT_SYSCTL_H
#define PLAIT_SYSCTL_H

/* 0; -ENOENT: this kernel has no such setting; else a negative errno. */
int sysctl_read(const char *path, long *value);
int sysctl_write(const char *path, long value);

#endif
