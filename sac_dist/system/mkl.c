/* What MKL asks before it uses a processor's AVX-512; see mkl.py. */
int mkl_serv_intel_cpu_true(void) { return 1; }
