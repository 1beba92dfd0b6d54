using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Doppel.Host.Network;

namespace Doppel.Host.Tests.Network;

public sealed class TapTests
{
    [Fact]
    public void Constants_and_layout_are_those_of_the_C_headers()
    {
        // The offloads for UDP are newer than some headers.
        long[] values = CProgram.Evaluate(
            ["sys/ioctl.h", "linux/if.h", "linux/if_tun.h", "fcntl.h"],
            [
                "IFNAMSIZ", "IFF_TAP", "IFF_NO_PI", "IFF_VNET_HDR", "TUNSETIFF", "TUNSETOFFLOAD", "TUNSETVNETHDRSZ",
                "TUN_F_CSUM", "TUN_F_TSO4", "TUN_F_TSO6", "TUN_F_TSO_ECN", "O_RDWR", "O_NONBLOCK", "O_CLOEXEC",
                "sizeof(struct ifreq)", "offsetof(struct ifreq, ifr_name)", "offsetof(struct ifreq, ifr_flags)",
            ]);
        Assert.Equal(
            [
                TapFlags.InterfaceNameLength, TapFlags.Tap, TapFlags.NoPacketInformation, TapFlags.HasVirtioHeader,
                (long)TapFlags.SetInterface, (long)TapFlags.SetOffload, (long)TapFlags.SetHeaderSize,
                TapFlags.OffloadChecksum, TapFlags.OffloadTcp4, TapFlags.OffloadTcp6, TapFlags.OffloadEcn,
                TapFlags.ReadWrite, TapFlags.NonBlocking, TapFlags.CloseOnExec,
                Unsafe.SizeOf<InterfaceRequest>(), Offset(nameof(InterfaceRequest.Name)), Offset(nameof(InterfaceRequest.Flags)),
            ],
            values);
    }

    [Theory]
    [InlineData("")]
    [InlineData("a-name-of-sixteen")]
    public void A_name_that_no_interface_can_have_is_refused(string name) => Assert.Throws<ArgumentException>(() => new TapDevice(name, 12));

    private static long Offset(string field) => (long)Marshal.OffsetOf<InterfaceRequest>(field);
}
