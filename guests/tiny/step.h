/*
 * Instructions that the VMM leaves to the guest's own processor, of every group: name, what CPUID must show, whether the
 * operand is at a multiple of 64, and the code. The operand is at RDI; vectors 2 and 3 hold small indices by 32 and 64 bits,
 * vector 5 signs, K1 and K2 masks.
 */
#ifndef GUESTS_TINY_STEP_H
#define GUESTS_TINY_STEP_H

#define CASES(C)                                                             \
    C("vaddps", AVX, 0, "vaddps (%rdi), %ymm1, %ymm0")                       \
    C("vdivpd", AVX, 0, "vdivpd (%rdi), %ymm1, %ymm0")                       \
    C("vcmpps", AVX, 0, "vcmpltps (%rdi), %ymm1, %ymm0")                     \
    C("vroundsd", AVX, 0, "vroundsd $1, (%rdi), %xmm1, %xmm0")               \
    C("vinsertps", AVX, 0, "vinsertps $0x50, (%rdi), %xmm1, %xmm0")          \
    C("vcvtdq2pd", AVX, 0, "vcvtdq2pd (%rdi), %ymm0")                        \
    C("vcvtsi2sd", AVX, 0, "vcvtsi2sdq (%rdi), %xmm1, %xmm0")                \
    C("vldmxcsr", AVX, 0, "vldmxcsr 64(%rdi)")                               \
    C("vstmxcsr", AVX, 0, "vstmxcsr (%rdi)")                                 \
    C("vmaskmovdqu", AVX, 0, "vmaskmovdqu %xmm4, %xmm1")                     \
    C("vpaddd", AVX2, 0, "vpaddd (%rdi), %ymm1, %ymm0")                      \
    C("vpshufb", AVX2, 0, "vpshufb (%rdi), %ymm1, %ymm0")                    \
    C("vpmovzxbq", AVX2, 0, "vpmovzxbq (%rdi), %ymm0")                       \
    C("vpsllw", AVX2, 0, "vpsllw (%rdi), %ymm1, %ymm0")                      \
    C("vpermd", AVX2, 0, "vpermd (%rdi), %ymm1, %ymm0")                      \
    C("vgatherdps", AVX2, 0, "vgatherdps %xmm5, (%rdi,%xmm2,4), %xmm0")      \
    C("vpgatherqq", AVX2, 0, "vpgatherqq %ymm5, (%rdi,%ymm3,8), %ymm0")      \
    C("vpgatherqd", AVX2, 0, "vpgatherqd %xmm5, (%rdi,%ymm3,8), %xmm0")      \
    C("vcvtph2ps", F16C, 0, "vcvtph2ps (%rdi), %ymm0")                       \
    C("vcvtps2ph", F16C, 0, "vcvtps2ph $0, %ymm1, (%rdi)")                   \
    C("vfmadd231pd", FMA, 0, "vfmadd231pd (%rdi), %ymm1, %ymm0")             \
    C("andn", BMI1, 0, "andnq (%rdi), %rbx, %rax")                           \
    C("bextr", BMI1, 0, "bextrl %ecx, (%rdi), %eax")                         \
    C("blsr", BMI1, 0, "blsrq (%rdi), %rax")                                 \
    C("mulx", BMI2, 0, "mulxq (%rdi), %rbx, %rax")                           \
    C("pdep", BMI2, 0, "pdepq (%rdi), %rbx, %rax")                           \
    C("rorx", BMI2, 0, "rorxl $7, (%rdi), %eax")                             \
    C("sarx", BMI2, 0, "sarxq %rcx, (%rdi), %rax")                           \
    C("adcx", ADX, 0, "adcxq (%rdi), %rax")                                  \
    C("adox", ADOX, 0, "adoxl (%rdi), %eax")                                 \
    C("cvtsi2sd", NOTHING, 0, "cvtsi2sdq (%rdi), %xmm0")                     \
    C("cvttsd2si", NOTHING, 0, "cvttsd2siq 64(%rdi), %rax")                  \
    C("cvtpi2ps", NOTHING, 0, "cvtpi2ps (%rdi), %xmm0")                      \
    C("cvttps2pi", NOTHING, 0, "cvttps2pi (%rdi), %mm0")                     \
    C("pinsrw", NOTHING, 0, "pinsrw $2, (%rdi), %mm1")                       \
    C("maskmovdqu", NOTHING, 0, "maskmovdqu %xmm4, %xmm1")                   \
    C("maskmovq", NOTHING, 0, "maskmovq %mm2, %mm1")                         \
    C("fldenv", NOTHING, 0, "fldenv (%rdi)")                                 \
    C("fnstenv", NOTHING, 0, "fnstenv (%rdi)")                               \
    C("fnstenv 16", NOTHING, 0, "data16 fnstenv (%rdi)")                     \
    C("frstor", NOTHING, 0, "frstor (%rdi)")                                 \
    C("fnsave", NOTHING, 0, "fnsave (%rdi)")                                 \
    C("dpps", SSE41, 1, "dpps $0x7d, (%rdi), %xmm0")                         \
    C("mpsadbw", SSE41, 1, "mpsadbw $5, (%rdi), %xmm0")                      \
    C("pcmpestri", SSE42, 0, "pcmpestri $0x0c, (%rdi), %xmm0")               \
    C("pcmpistrm", SSE42, 0, "pcmpistrm $0x40, (%rdi), %xmm1")               \
    C("aesenc", AES, 1, "aesenc (%rdi), %xmm0")                              \
    C("aesdeclast", AES, 1, "aesdeclast (%rdi), %xmm0")                      \
    C("aesimc", AES, 1, "aesimc (%rdi), %xmm0")                              \
    C("aeskeygen", AES, 1, "aeskeygenassist $3, (%rdi), %xmm0")              \
    C("pclmulqdq", PCLMUL, 1, "pclmulqdq $0x11, (%rdi), %xmm0")              \
    C("sha1rnds4", SHA, 1, "sha1rnds4 $2, (%rdi), %xmm1")                    \
    C("sha256rnds2", SHA, 1, "sha256rnds2 (%rdi), %xmm1")                    \
    C("sha256msg1", SHA, 1, "sha256msg1 (%rdi), %xmm1")                      \
    C("gf2p8mulb", GFNI, 1, "gf2p8mulb (%rdi), %xmm0")                       \
    C("movntsd", SSE4A, 0, "movntsd %xmm1, (%rdi)")                          \
    C("vaddps zmm", AVX512, 0, "vaddps (%rdi), %zmm1, %zmm0")                \
    C("vaddps mask", AVX512, 0, "vaddps (%rdi), %zmm1, %zmm0{%k1}{z}")       \
    C("vaddps bcast", AVX512, 0, "vaddps (%rdi){1to16}, %zmm1, %zmm17{%k1}") \
    C("vaddss mask", AVX512, 0, "vaddss (%rdi), %xmm1, %xmm0{%k1}{z}")       \
    C("vmovdqu8 store", AVX512, 0, "vmovdqu8 %zmm19, (%rdi){%k2}")           \
    C("vmovdqu32 load", AVX512, 0, "vmovdqu32 (%rdi), %zmm20{%k1}")          \
    C("vmovups zmm", AVX512, 0, "vmovups %zmm21, (%rdi)")                    \
    C("vcvtps2pd", AVX512, 0, "vcvtps2pd (%rdi), %zmm0{%k1}")                \
    C("vpunpckldq", AVX512, 0, "vpunpckldq (%rdi), %zmm1, %zmm0{%k1}{z}")    \
    C("vpmaddwd", AVX512, 0, "vpmaddwd (%rdi), %zmm1, %zmm0{%k1}{z}")        \
    C("vdbpsadbw", AVX512, 0, "vdbpsadbw $0x1b, (%rdi), %zmm1, %zmm0{%k2}")  \
    C("vpcompressd", AVX512, 0, "vpcompressd %zmm1, (%rdi){%k1}")            \
    C("vpexpandq", AVX512, 0, "vpexpandq (%rdi), %zmm1{%k1}{z}")             \
    C("vpmovqb", AVX512, 0, "vpmovqb %zmm1, (%rdi){%k1}")                    \
    C("vcvtps2ph", AVX512, 0, "vcvtps2ph $0, %zmm1, (%rdi){%k1}")            \
    C("vextracti32x4", AVX512, 0, "vextracti32x4 $2, %zmm1, (%rdi){%k1}")    \
    C("vpcmpeqd", AVX512, 0, "vpcmpeqd (%rdi), %zmm1, %k3{%k1}")             \
    C("vblendmps", AVX512, 0, "vblendmps (%rdi), %zmm1, %zmm0{%k1}")         \
    C("vpermt2d", AVX512, 0, "vpermt2d (%rdi), %zmm2, %zmm0{%k1}")           \
    C("vpternlogq", AVX512, 0, "vpternlogq $0x96, (%rdi), %zmm1, %zmm0")     \
    C("vpgatherdd", AVX512, 0, "vpgatherdd (%rdi,%zmm2,4), %zmm0{%k1}")      \
    C("vgatherqpd", AVX512, 0, "vgatherqpd (%rdi,%zmm3,8), %zmm0{%k1}")      \
    C("vpscatterdd", AVX512, 0, "vpscatterdd %zmm1, (%rdi,%zmm2,4){%k1}")    \
    C("vpscatterqd", AVX512, 0, "vpscatterqd %ymm1, (%rdi,%zmm3,8){%k1}")    \
    C("disp8", AVX512, 0, "vpaddd 64(%rdi), %zmm1, %zmm0")                   \
    C("kmovq load", AVX512, 0, "kmovq (%rdi), %k4")                          \
    C("kmovw store", AVX512, 0, "kmovw %k1, (%rdi)")

#endif
