/* touch: is the VPS there by TCP on this line? A connection that is made and reset before a byte was said. */
#ifndef PLAIT_TOUCH_H
#define PLAIT_TOUCH_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct touch;
/* There: a SYN was answered, be it by a refusal. Called once, from the loop, unless cancelled; the touch is gone then. */
typedef void (*touch_cb)(void *arg, bool there);

struct touch *touch_new(struct event_base *base, const struct addr *from, const struct addr *to, uint32_t mark, touch_cb cb, void *arg);
void touch_cancel(struct touch *t); /* NULL is fine */

#endif
