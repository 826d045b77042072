/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * What a page, a call or a shell needs is asked for piece by piece, so it is as fast as the asking
 * and says nothing of the lines. A download or an upload runs one way until it is over. So bytes
 * are counted into runs: what comes the other way is the next question, and takes back WORTH times
 * its length of the run. Even a short question of HTTP ends the run of an answer of tens of
 * kilobytes; what a program says meanwhile to keep a large transfer going (a window of SSH's or
 * HTTP/2's, some dozen bytes for a hundred kilobytes or more) does not. Bytes beyond the first
 * BEGIN of a run are bulk. Time plays no part: a transfer that stands still because a line does is
 * one all the same. */
#include "bulk.h"

#define BEGIN (1u << 20)
#define WORTH 256

size_t bulk_moved(struct bulk *b, int way, size_t len)
{
	uint64_t back = (uint64_t)len * WORTH, past;

	b->run[!way] = b->run[!way] > back ? b->run[!way] - back : 0;
	b->run[way] += len;
	past = b->run[way] > BEGIN ? b->run[way] - BEGIN : 0;
	return past < len ? (size_t)past : len;
}
