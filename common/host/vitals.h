/* vitals: what this machine's kernel has and how it feels, for `status` and the log. */
#ifndef PLAIT_VITALS_H
#define PLAIT_VITALS_H

#include <jansson.h>

#include "sock.h"

/* {option: "yes", or what its absence means}. */
json_t *vitals_kernel(const struct sock_caps *caps);

/* One warning a missing thing that the owner should know of. */
void vitals_warn(const struct sock_caps *caps);

/* TCP memory of the whole machine (pages) against its limit, from /proc: when it runs out every socket fails. */
json_t *vitals_memory(void);

#endif
