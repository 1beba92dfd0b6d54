using Doppel.Devices.Input;
using Doppel.Devices.Usb;
using Doppel.Machine.Tests;
using Xunit.Abstractions;
using static Doppel.Devices.Tests.Usb.UhciMachine;

namespace Doppel.Devices.Tests.Usb;

/// <summary>Random registers, schedules and requests: the machine goes on, stays the same when it is moved, and works after a reset.</summary>
public sealed class UsbHostileTests(ITestOutputHelper output)
{
    private static readonly byte[] Pids = [Setup, In, Out, In, 0x00, 0xFF];

    [Fact]
    public void Random_schedules_do_no_harm() => Harm(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_do_no_harm() => Harm(1_000_000);

    private void Harm(int accesses)
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        var uhci = new UhciMachine();
        try
        {
            uhci.Start();
            for (int i = 0; i < accesses; i++)
            {
                Access(uhci, random);
                if (random.Next(5000) == 0)
                {
                    UhciMachine there = uhci.Move();
                    Assert.Equal(uhci.Save(), there.Save());
                    uhci.Dispose();
                    uhci = there;
                }
            }

            Assert.Empty(uhci.Failures);
            lock (uhci.Gate)
                uhci.Function.Reset();
            uhci.Function.WriteConfig(0x20, 4, 0xC000);
            uhci.Function.WriteConfig(4, 2, 5);
            uhci.Configure();
            Assert.Equal(5, uhci.Tablet.Address);
        }
        finally
        {
            uhci.Dispose();
        }
    }

    private static void Access(UhciMachine uhci, Random random)
    {
        switch (random.Next(12))
        {
            case 0:
                int register = random.Next(0x16);
                // Mostly it is let run.
                int value = register == Command ? random.Next(8) == 0 ? random.Next(65536) : 0xC1 : random.Next(65536);
                uhci.Write(register, value, 1 << random.Next(3));
                break;
            case 1:
                _ = uhci.Read(random.Next(0x18));
                break;
            case 2:
                uhci.Write(FrameList, (int)List, 4);
                uhci.Write(Port1, 4);
                break;
            case 3:
                uhci.Put(List + (4 * (uint)random.Next(1024)), RandomLink(random));
                break;
            case 4 or 5:
                uhci.Put(Queue + (16 * (uint)random.Next(8)), RandomLink(random), RandomLink(random));
                break;
            case 6 or 7:
                uint token = Token(Pids[random.Next(Pids.Length)], random.Next(3) == 0 ? random.Next(128) : uhci.Tablet.Address, random.Next(4) == 0 ? random.Next(16) : random.Next(2), random.Next(3) == 0 ? random.Next(1500) : random.Next(10));
                uhci.Put(Transfers + (16 * (uint)random.Next(16)), RandomLink(random), (uint)random.Next() | Active, token, random.Next(20) == 0 ? (uint)random.Next() : Buffers + (uint)random.Next(64));
                break;
            case 8:
                byte[] types = [0x80, 0x00, 0x81, 0x01, 0x82, 0x02, 0x21, 0xA1, (byte)random.Next(256)];
                var setup = new UsbSetup(types[random.Next(types.Length)], (byte)random.Next(13), (ushort)(random.Next(2) == 0 ? random.Next(4) << 8 : random.Next(65536)), (ushort)(random.Next(2) == 0 ? 0 : 0x81), (ushort)random.Next(random.Next(2) == 0 ? 20 : 65536));
                Assert.True(uhci.Memory.TryWrite(Buffers + (uint)random.Next(64), setup.ToBytes()));
                break;
            case 9:
                uhci.Tablet.Move(new PointerChange(random.Next(32768), random.Next(32768), 0, 0, random.Next(-300, 300), (PointerButtons)random.Next(32)));
                break;
            case 10:
                uhci.Clock.Advance(random.NextInt64(3 * Frame));
                break;
            default:
                if (random.Next(20) == 0)
                    uhci.Clock.AdvanceLate(random.NextInt64(300 * Frame));
                break;
        }
    }

    private static uint RandomLink(Random random) => random.Next(10) switch
    {
        0 => (uint)random.Next(),
        1 => 1,
        < 6 => (Queue + (16 * (uint)random.Next(8))) | 2,
        _ => (Transfers + (16 * (uint)random.Next(16))) | (uint)(random.Next(2) << 2),
    };
}
