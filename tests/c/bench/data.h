/* The logins and groups that every peer of the benchmark serves: a function of the number alone, so that whoever asks knows the right answer.

   Login i of n has a name of 7 to 12 bytes, uid and own group FIRST_UID + i or one more, a home, and two of the n / 40 shared groups. The first `big(n)` logins are
   also in the group "largest". No two numbers give the same name. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FIRST_UID 100000u
#define FIRST_SHARED 70000u
#define LARGEST 69999u
/* Numbers from here on are nobody's: names that look like the others. */
#define NOBODY (1u << 22)

static inline uint32_t mixed(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

/* Three syllables and a letter or digit say 23 bits; up to five more letters give the length. Returns the length. */
static inline int name_of(uint32_t i, char *to)
{
    static const char consonants[] = "bcdfghjklmnprstv", vowels[] = "aeio", all[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = (i * 2654435761u) & 0x7fffff, more = mixed(i ^ 0x5bd1e995u) % 6;
    char *at = to;
    for (int syllable = 0; syllable < 3; syllable++, bits >>= 6) {
        *at++ = consonants[bits & 15];
        *at++ = vowels[bits >> 4 & 3];
    }
    *at++ = all[bits & 31];
    for (uint32_t letter = 0; letter < more; letter++)
        *at++ = all[mixed(i + letter * 977) % 26];
    *at = 0;
    return (int)(at - to);
}

/* 1,000,000 is the group sftp-only of a new directory. */
static inline uint32_t uid_of(uint32_t i) { return FIRST_UID + i + (FIRST_UID + i >= 1000000); }
static inline uint32_t shared_groups(uint32_t n) { return n / 40 < 25 ? 25 : n / 40; }
static inline uint32_t big(uint32_t n) { return n / 2 < 5000 ? n / 2 : 5000; }
static inline uint32_t first_group(uint32_t i, uint32_t n) { return i % shared_groups(n); }

static inline uint32_t second_group(uint32_t i, uint32_t n)
{
    uint32_t count = shared_groups(n), other = mixed(i) % (count - 1);
    return other + (other >= first_group(i, n));
}

/* How many groups initgroups gives, the login's own among them. */
static inline int groups_of(uint32_t i, uint32_t n) { return 3 + (i < big(n)); }
static inline void home_of(const char *name, char *to, size_t size) { snprintf(to, size, "/home/members/users/%s", name); }
