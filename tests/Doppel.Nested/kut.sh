# Runs the kernels of kvm-unit-tests under --engine kvm inside the nested host, and counts their assertions by file.
export DOTNET_TieredPGO=0
for kernel in /share/kut/*.flat; do
	file=$(basename $kernel .flat)
	case $file in
	vmexit | asyncpf | pcid-* | vmx | svm | svm_* | hyperv_* | sieve | tsc_adjust_* | intel-iommu | dummy | vmware_backdoors | kvmclock_test | hypercall | cet | la57 | pks | pmu* | tsx-ctrl | buslock* | lam | amd* | ept* ) continue ;;
	esac
	begin=$(date +%s)
	timeout 40 /usr/share/dotnet/dotnet /share/doppel/doppel.dll run --engine kvm --cpu x86-64-v2-compat --kernel $kernel --serial stdio --testdev --no-reboot --net none --memory 256M </dev/null >/tmp/out 2>&1
	status=$?
	echo "| $file | $status | $(grep -c '^PASS' /tmp/out) | $(grep -c '^FAIL' /tmp/out) | $(grep -c '^SKIP' /tmp/out) | $(($(date +%s) - begin)) s |" | tee -a /share/results
	grep '^FAIL' /tmp/out | head -n 12 >>/share/kut-failures.$file
	tail -n 3 /tmp/out >/share/kut-end.$file
done
exit 0
