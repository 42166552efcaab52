/* The memory of argon2id with one lane (RFC 9106), version 0x13: filled here, and nothing else of it.
 *
 * What surrounds the filling (H0, H' and the verifier's text) is a few hashes of BLAKE2b, in sekisho.accounts.argon2id.
 * A library would do, if one both computed with the widest registers and let the caller bring the memory: a fresh
 * mapping in pages of 4 KiB costs a third of the time of a hash, in page faults. Here it is asked for in huge pages.
 *
 * There is one way to compute and three sets of primitives for it: AVX-512, AVX2 and plain C. Which of them this
 * processor can run is `variants`, the quickest first.
 *
 * Nothing is kept between two calls. Which block is read next depends on the password from the third quarter of the
 * first pass on, as the RFC wants it; nothing else does, neither branch nor address.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE 1
#include <immintrin.h>
#else
#define WIDE 0
#endif

/* ---------------------------------------------------------------- blocks */

enum { WORDS = 128, OCTETS = 8 * WORDS, VECTORS = WORDS / 8 };

/* The RFC sees a block as eight rows of eight registers of two words, and permutes each row, then each column (§3.5).
 * Row and column have three bits each; here the lowest of both, with the word in the register, choose the lane of a
 * vector of eight words, and the others choose the vector. So rows (four neighboring vectors hold two of them) and
 * columns (every fourth) are both computed without moving a word to another vector. */
typedef struct {
#ifdef __GNUC__
    __attribute__((aligned(64)))
#endif
    uint64_t words[WORDS];
} Block;

/* Where a word of the RFC's order stands: bits rrrcccw become rrccrcw. */
static inline unsigned place(unsigned word)
{
    return (word & 0x63) | (word & 0x0c) << 1 | (word & 0x10) >> 2;
}

static void read_block(Block *block, const unsigned char *octets)
{
    for (unsigned word = 0; word < WORDS; word++) {
        uint64_t value = 0;
        for (int octet = 7; octet >= 0; octet--)
            value = value << 8 | octets[8 * word + octet];
        block->words[place(word)] = value;
    }
}

static void write_block(unsigned char *octets, const Block *block)
{
    for (unsigned word = 0; word < WORDS; word++)
        for (unsigned octet = 0; octet < 8; octet++)
            octets[8 * word + octet] = (unsigned char)(block->words[place(word)] >> 8 * octet);
}

/* ---------------------------------------------------------------- the permutation, over any primitives
 *
 * GB of RFC 9106 §3.6 in four quarters, each for the four rows or columns of a vector at once, and for four such
 * groups in turns: they do not depend on one another, which hides the latency of the multiplication. */

#define QUARTER(set, a, b, d, bits) \
    a = set##_blend(a, b);          \
    d = set##_right(set##_xor(d, a), bits);

#define QUARTERS(set, a, b, d, bits)     \
    QUARTER(set, a##0, b##0, d##0, bits) \
    QUARTER(set, a##1, b##1, d##1, bits) \
    QUARTER(set, a##2, b##2, d##2, bits) \
    QUARTER(set, a##3, b##3, d##3, bits)

#define MIX(set)               \
    QUARTERS(set, a, b, d, 32) \
    QUARTERS(set, c, d, b, 24) \
    QUARTERS(set, a, b, d, 16) \
    QUARTERS(set, c, d, b, 63)

/* Diagonals become columns by turning a, c and d; b, which is ready last, stays. `along` is row or column. */
#define TURN_GROUP(set, along, group, of_a, of_c) \
    a##group = set##_##along##of_a(a##group);     \
    c##group = set##_##along##of_c(c##group);     \
    d##group = set##_##along##2(d##group);

#define TURN(set, along, of_a, of_c)      \
    TURN_GROUP(set, along, 0, of_a, of_c) \
    TURN_GROUP(set, along, 1, of_a, of_c) \
    TURN_GROUP(set, along, 2, of_a, of_c) \
    TURN_GROUP(set, along, 3, of_a, of_c)

#define PERMUTE(set, along) \
    MIX(set)                \
    TURN(set, along, 3, 1)  \
    MIX(set)                \
    TURN(set, along, 1, 3)

#define LOAD(set, vector, at) \
    vector = sum[at] = set##_xor(set##_load(one->words + 8 * (at)), set##_load(other->words + 8 * (at)));

#define STORE(set, vector, at)                                            \
    vector = set##_xor(vector, sum[at]);                                  \
    if (over)                                                             \
        vector = set##_xor(vector, set##_load(result->words + 8 * (at))); \
    set##_store(result->words + 8 * (at), vector);

/* Each vector with the name that it has where rows are permuted; for columns, names are exchanged. */
#define EACH_VECTOR(set, do)                                                        \
    do(set, a0, 0) do(set, b0, 1) do(set, c0, 2) do(set, d0, 3) do(set, a1, 4)      \
    do(set, b1, 5) do(set, c1, 6) do(set, d1, 7) do(set, a2, 8) do(set, b2, 9)      \
    do(set, c2, 10) do(set, d2, 11) do(set, a3, 12) do(set, b3, 13) do(set, c3, 14) \
    do(set, d3, 15)

#define EXCHANGE(x, y) \
    swap = x;          \
    x = y;             \
    y = swap;

#define TRANSPOSE                                      \
    EXCHANGE(a1, b0) EXCHANGE(a2, c0) EXCHANGE(a3, d0) \
    EXCHANGE(b2, c1) EXCHANGE(b3, d1) EXCHANGE(c3, d2)

/* G (§3.5): *result is the permuted sum of two blocks and that sum again; after the first pass, what stood there is
 * added too (§3.2, step 6). */
#define COMPRESS(set, attributes)                                                                        \
    attributes static void set##_compress(Block *result, const Block *one, const Block *other, int over) \
    {                                                                                                    \
        set##_vector sum[VECTORS], a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, swap; \
        EACH_VECTOR(set, LOAD)                                                                           \
        PERMUTE(set, row)                                                                                \
        TRANSPOSE                                                                                        \
        PERMUTE(set, column)                                                                             \
        TRANSPOSE                                                                                        \
        EACH_VECTOR(set, STORE)                                                                          \
    }

/* ---------------------------------------------------------------- primitives
 *
 * blend is x + y + 2 * low(x) * low(y), right turns each word by bits to the right. row1 to row3 turn the four words of
 * each row within the vector, column1 to column3 those of each column: at place n then stands what stood at n + 1, 2 or
 * 3. A lane is numbered rcw, so a place in a row is cw and one in a column rw. */

#if WIDE

#define AVX512 __attribute__((target("avx512f")))
#define PRIMITIVE AVX512 static inline __attribute__((always_inline))

typedef __m512i avx512_vector;

PRIMITIVE __m512i avx512_load(const uint64_t *words) { return _mm512_load_si512(words); }
PRIMITIVE void avx512_store(uint64_t *words, __m512i x) { _mm512_store_si512(words, x); }
PRIMITIVE __m512i avx512_xor(__m512i x, __m512i y) { return _mm512_xor_si512(x, y); }
PRIMITIVE __m512i avx512_blend(__m512i x, __m512i y)
{
    __m512i product = _mm512_mul_epu32(x, y);
    return _mm512_add_epi64(_mm512_add_epi64(x, y), _mm512_add_epi64(product, product));
}
#define avx512_right(x, bits) _mm512_ror_epi64(x, bits)
#define avx512_row1(x) _mm512_permutex_epi64(x, _MM_SHUFFLE(0, 3, 2, 1))
#define avx512_row2(x) _mm512_permutex_epi64(x, _MM_SHUFFLE(1, 0, 3, 2))
#define avx512_row3(x) _mm512_permutex_epi64(x, _MM_SHUFFLE(2, 1, 0, 3))
#define avx512_column1(x) _mm512_permutexvar_epi64(_mm512_setr_epi64(1, 4, 3, 6, 5, 0, 7, 2), x)
#define avx512_column2(x) _mm512_shuffle_i64x2(x, x, _MM_SHUFFLE(1, 0, 3, 2))
#define avx512_column3(x) _mm512_permutexvar_epi64(_mm512_setr_epi64(5, 0, 7, 2, 1, 4, 3, 6), x)

COMPRESS(avx512, AVX512)

#undef PRIMITIVE
#define AVX2 __attribute__((target("avx2")))
#define PRIMITIVE AVX2 static inline __attribute__((always_inline))

typedef struct {
    __m256i even, odd; /* rows */
} avx2_vector;

PRIMITIVE avx2_vector avx2_load(const uint64_t *words)
{
    return (avx2_vector){_mm256_load_si256((const __m256i *)words), _mm256_load_si256((const __m256i *)(words + 4))};
}
PRIMITIVE void avx2_store(uint64_t *words, avx2_vector x)
{
    _mm256_store_si256((__m256i *)words, x.even);
    _mm256_store_si256((__m256i *)(words + 4), x.odd);
}
PRIMITIVE avx2_vector avx2_xor(avx2_vector x, avx2_vector y)
{
    return (avx2_vector){_mm256_xor_si256(x.even, y.even), _mm256_xor_si256(x.odd, y.odd)};
}
PRIMITIVE __m256i avx2_blend_half(__m256i x, __m256i y)
{
    __m256i product = _mm256_mul_epu32(x, y);
    return _mm256_add_epi64(_mm256_add_epi64(x, y), _mm256_add_epi64(product, product));
}
PRIMITIVE avx2_vector avx2_blend(avx2_vector x, avx2_vector y)
{
    return (avx2_vector){avx2_blend_half(x.even, y.even), avx2_blend_half(x.odd, y.odd)};
}
#define AVX2_OCTETS(x, ...) _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__)))
PRIMITIVE __m256i avx2_right_half(__m256i x, int bits)
{
    if (bits == 32)
        return _mm256_shuffle_epi32(x, _MM_SHUFFLE(2, 3, 0, 1));
    if (bits == 24)
        return AVX2_OCTETS(x, 3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
    if (bits == 16)
        return AVX2_OCTETS(x, 2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    return _mm256_or_si256(_mm256_add_epi64(x, x), _mm256_srli_epi64(x, 63));
}
PRIMITIVE avx2_vector avx2_right(avx2_vector x, int bits)
{
    return (avx2_vector){avx2_right_half(x.even, bits), avx2_right_half(x.odd, bits)};
}
#define AVX2_ROW(x, order) \
    ((avx2_vector){_mm256_permute4x64_epi64(x.even, order), _mm256_permute4x64_epi64(x.odd, order)})
#define avx2_row1(x) AVX2_ROW(x, _MM_SHUFFLE(0, 3, 2, 1))
#define avx2_row2(x) AVX2_ROW(x, _MM_SHUFFLE(1, 0, 3, 2))
#define avx2_row3(x) AVX2_ROW(x, _MM_SHUFFLE(2, 1, 0, 3))
#define avx2_column1(x) ((avx2_vector){_mm256_alignr_epi8(x.odd, x.even, 8), _mm256_alignr_epi8(x.even, x.odd, 8)})
#define avx2_column2(x) ((avx2_vector){x.odd, x.even})
#define avx2_column3(x) ((avx2_vector){_mm256_alignr_epi8(x.even, x.odd, 8), _mm256_alignr_epi8(x.odd, x.even, 8)})

COMPRESS(avx2, AVX2)

#undef PRIMITIVE
#endif

/* Words one by one: a row or column at a time, its sixteen words in variables of which each is a vector's place. */

static inline uint64_t plain_xor(uint64_t x, uint64_t y) { return x ^ y; }
static inline uint64_t plain_right(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }
static inline uint64_t plain_blend(uint64_t x, uint64_t y) { return x + y + 2 * ((x & 0xffffffff) * (y & 0xffffffff)); }

#define PLAIN_WORDS(do)                                                             \
    do(a0, 0) do(a1, 1) do(a2, 2) do(a3, 3) do(b0, 4) do(b1, 5) do(b2, 6) do(b3, 7) \
    do(c0, 8) do(c1, 9) do(c2, 10) do(c3, 11) do(d0, 12) do(d1, 13) do(d2, 14) do(d3, 15)
#define PLAIN_GET(word, at) word = words[place((at) / 2 * apart + (at) % 2)];
#define PLAIN_PUT(word, at) words[place((at) / 2 * apart + (at) % 2)] = word;
#define PLAIN_TURN(x) swap = x##0; x##0 = x##1; x##1 = x##2; x##2 = x##3; x##3 = swap;

/* The registers of a row are two words apart, those of a column sixteen. */
static inline void plain_permute(uint64_t *words, unsigned apart)
{
    uint64_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, swap;
    PLAIN_WORDS(PLAIN_GET)
    MIX(plain)
    PLAIN_TURN(a) PLAIN_TURN(a) PLAIN_TURN(a) PLAIN_TURN(c) PLAIN_TURN(d) PLAIN_TURN(d)
    MIX(plain)
    PLAIN_TURN(a) PLAIN_TURN(c) PLAIN_TURN(c) PLAIN_TURN(c) PLAIN_TURN(d) PLAIN_TURN(d)
    PLAIN_WORDS(PLAIN_PUT)
}

static void plain_compress(Block *result, const Block *one, const Block *other, int over)
{
    Block sum, permuted;
    for (unsigned word = 0; word < WORDS; word++)
        sum.words[word] = permuted.words[word] = one->words[word] ^ other->words[word];
    for (unsigned row = 0; row < 8; row++)
        plain_permute(permuted.words + place(16 * row), 2);
    for (unsigned column = 0; column < 8; column++)
        plain_permute(permuted.words + place(2 * column), 16);
    for (unsigned word = 0; word < WORDS; word++)
        result->words[word] = (over ? result->words[word] : 0) ^ sum.words[word] ^ permuted.words[word];
}

/* ---------------------------------------------------------------- the filling */

typedef void Compress(Block *result, const Block *one, const Block *other, int over);

static struct {
    const char *name;
    Compress *compress;
} variants[3]; /* the quickest first */
static int variants_here;

static void find_variants(void)
{
#if WIDE
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        variants[variants_here].name = "avx512";
        variants[variants_here++].compress = avx512_compress;
    }
    if (__builtin_cpu_supports("avx2")) {
        variants[variants_here].name = "avx2";
        variants[variants_here++].compress = avx2_compress;
    }
#endif
    variants[variants_here].name = "plain";
    variants[variants_here++].compress = plain_compress;
}

/* Which block is read, of `area` blocks of which the newest is the last: nearer ones more often (§3.4.2). */
static inline uint64_t choose(uint64_t pseudo_random, uint64_t area)
{
    uint64_t x = pseudo_random & 0xffffffff;
    x = x * x >> 32;
    return area - 1 - (area * x >> 32);
}

/* Fill blocks 2 to count - 1, then all of them in each further pass. The first two are there; count is a multiple of
 * four, from eight on. With one lane, all references are to the same lane. */
static void fill(Compress *compress, Block *memory, uint64_t passes, uint64_t count)
{
    const uint64_t segment = count / 4;
    static const Block zero;
    Block input, addresses;
    Block *previous = &memory[1];
    for (uint64_t pass = 0; pass < passes; pass++)
        for (uint64_t slice = 0; slice < 4; slice++) {
            int independent = pass == 0 && slice < 2; /* what makes it argon2id, §3.4.1.3 */
            uint64_t oldest = pass == 0 ? 0 : (slice + 1) % 4 * segment;
            uint64_t settled = pass == 0 ? slice * segment : 3 * segment; /* blocks of the other slices */
            for (uint64_t index = pass == 0 && slice == 0 ? 2 : 0; index < segment; index++) {
                uint64_t pseudo_random = previous->words[0];
                if (independent) { /* §3.4.1.2: addresses for 128 blocks at a time */
                    if (index % WORDS == 0 || index == 2) {
                        const uint64_t about[] = {pass, 0, slice, count, passes, 2, index / WORDS + 1};
                        memset(&input, 0, sizeof input);
                        for (unsigned word = 0; word < sizeof about / sizeof *about; word++)
                            input.words[place(word)] = about[word];
                        compress(&addresses, &zero, &input, 0);
                        compress(&input, &zero, &addresses, 0);
                        addresses = input;
                    }
                    pseudo_random = addresses.words[place(index % WORDS)];
                }
                uint64_t reference = oldest + choose(pseudo_random, settled + index - 1);
                Block *block = &memory[slice * segment + index];
                compress(block, previous, &memory[reference < count ? reference : reference - count], pass > 0);
                previous = block;
            }
        }
}

#define HUGE_PAGE ((size_t)2 << 20)

/* 0, or -1 when there is no memory. */
static int fill_mapped(Compress *compress, const unsigned char *first, const unsigned char *second, uint64_t passes,
                       uint64_t count, unsigned char *last)
{
    size_t size = (size_t)count * OCTETS, mapped = size;
    if (size >= HUGE_PAGE) /* room to begin where a huge page does, and whole ones to the end */
        mapped = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE;
    char *mapping = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *start = mapping;
    if (mapping == MAP_FAILED)
        return -1;
    if (size >= HUGE_PAGE) {
        start += (HUGE_PAGE - (uintptr_t)mapping % HUGE_PAGE) % HUGE_PAGE;
#ifdef MADV_HUGEPAGE
        madvise(start, mapped - HUGE_PAGE, MADV_HUGEPAGE); /* without it the hash is the same, and slower */
#endif
    }
    Block *memory = (Block *)start;
    read_block(&memory[0], first);
    read_block(&memory[1], second);
    fill(compress, memory, passes, count);
    write_block(last, &memory[count - 1]);
    munmap(mapping, mapped); /* who gets it next gets zeros */
    return 0;
}

/* ---------------------------------------------------------------- the module */

PyDoc_STRVAR(fill_doc, "fill(variant, first, second, passes, blocks)\n--\n\n"
                       "Return the last of so many blocks of 1024 octets, of which the first two are given.");

static PyObject *py_fill(PyObject *module, PyObject *arguments)
{
    const char *variant;
    Py_buffer first, second;
    Py_ssize_t passes, blocks;
    Compress *compress = NULL;
    PyObject *last = NULL;
    int failed = 0;
    if (!PyArg_ParseTuple(arguments, "sy*y*nn:fill", &variant, &first, &second, &passes, &blocks))
        return NULL;
    for (int n = 0; n < variants_here; n++)
        if (strcmp(variants[n].name, variant) == 0)
            compress = variants[n].compress;
    if (compress == NULL)
        PyErr_SetString(PyExc_ValueError, "not a variant that this processor can run");
    else if (first.len != OCTETS || second.len != OCTETS)
        PyErr_SetString(PyExc_ValueError, "a block has 1024 octets");
    else if (passes < 1 || (uint64_t)passes > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "passes: 1 to 2^32 - 1");
    else if (blocks < 8 || blocks % 4 || (uint64_t)blocks > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "blocks: a multiple of 4, from 8 to 2^32 - 4");
    else if ((size_t)blocks > (SIZE_MAX / 2 - 2 * HUGE_PAGE) / OCTETS)
        PyErr_NoMemory(); /* 32 bits */
    else if ((last = PyBytes_FromStringAndSize(NULL, OCTETS)) != NULL) {
        Py_BEGIN_ALLOW_THREADS
        failed = fill_mapped(compress, first.buf, second.buf, passes, blocks, (unsigned char *)PyBytes_AS_STRING(last));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&first);
    PyBuffer_Release(&second);
    if (failed) {
        Py_CLEAR(last);
        PyErr_NoMemory();
    }
    return last;
}

static PyMethodDef functions[] = {
    {"fill", py_fill, METH_VARARGS, fill_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_argon2id", "The filling of the memory of argon2id.", -1, functions,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__argon2id(void)
{
    if (!variants_here)
        find_variants();
    PyObject *module = PyModule_Create(&definition), *names = PyTuple_New(variants_here);
    if (module == NULL || names == NULL)
        return NULL;
    for (int n = 0; n < variants_here; n++) {
        PyObject *name = PyUnicode_FromString(variants[n].name);
        if (name == NULL)
            return NULL;
        PyTuple_SET_ITEM(names, n, name);
    }
    return PyModule_AddObject(module, "variants", names) < 0 ? NULL : module;
}
