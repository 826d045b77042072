/* SPDX-License-Identifier: BSD-2-Clause */
/* roles: what the owner wants each link to be, by the config or live, and what follows for the
 * paths of UDP. See roles.c. */
#ifndef PLAIT_ROLES_H
#define PLAIT_ROLES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "links.h"
#include "wire_udp.h"

struct roles;

/* Tells `links` the roles of the config. `changed` is called (not from inside roles_new) when
 * roles_use(link) answers differently. NULL: no memory. */
struct roles *roles_new(const struct config *config, struct links *links, void (*changed)(void *arg, size_t link), void *arg);
void roles_free(struct roles *r);

void roles_reload(struct roles *r); /* the config has other words now */

enum config_role roles_role(const struct roles *r, size_t link);
const char *roles_name(enum config_role role); /* "primary", ... */

/* What a path of this link may be used for by UDP. */
enum wire_use roles_use(const struct roles *r, size_t link);

/* Findings of others that bear on it: the quota is used up; bulk on this link slows all down. */
void roles_spent(struct roles *r, size_t link, bool spent);
void roles_aside(struct roles *r, size_t link, bool aside);

/* "NAME primary|backup|off": changes it until the daemon ends. {link, was, is} or {error}. */
json_t *roles_answer(void *arg, const char *rest);

#endif
