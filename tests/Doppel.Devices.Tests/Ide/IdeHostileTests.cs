using Doppel.Devices.Ata;
using Doppel.Devices.Tests.Virtio;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Ide;

/// <summary>Random accesses to all registers of the function: nothing outside the bus master's regions is touched, and it works after a reset.</summary>
public sealed class IdeHostileTests(ITestOutputHelper output)
{
    // Commands that exist are likelier than others.
    private static readonly byte[] Commands = [0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3D, 0xC4, 0xC5, 0xC8, 0xCA, 0x06, 0x40, 0x42, 0x90, 0x91, 0xA0, 0xA0, 0xA0, 0xA1, 0xB0, 0xC6, 0xE4, 0xE8, 0xE7, 0xEC, 0xEF, 0x2F, 0x08];
    private static readonly byte[] Packets = [0x00, 0x03, 0x12, 0x15, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0x42, 0x43, 0x44, 0x46, 0x4A, 0x51, 0x52, 0x55, 0x5A, 0xA8, 0xAD, 0xB9, 0xBD, 0xBE];

    [Fact]
    public Task Random_accesses_do_no_harm() => HarmAsync(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_accesses_do_no_harm() => HarmAsync(1_000_000);

    private async Task HarmAsync(int accesses)
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        var disk = new MemoryBlockBackend(1 << 20);
        var disc = new MemoryBlockBackend(1 << 20) { IsReadOnly = true };
        AtapiCdrom cd = null!;
        IdeMachine Make() => new(disk, new MemoryBlockBackend(1 << 16), platform => cd = new AtapiCdrom("cd0", disc, platform));
        IdeMachine ide = Make();
        try
        {
            byte[] low = new byte[0x1000];
            random.NextBytes(low);
            ide.Put(0, low);
            for (int i = 0; i < accesses; i++)
            {
                Access(ide, random);
                if (random.Next(4000) == 0)
                {
                    IdeMachine there = Make();
                    await there.MoveFromAsync(ide);
                    ide.Dispose();
                    ide = there;
                }

                if (random.Next(2000) == 0)
                {
                    lock (ide.Gate)
                        _ = cd.ChangeMedium(random.Next(2) == 0 ? null : disc);
                }
            }

            Assert.Equal(low, ide.Bytes(0, low.Length));
            lock (ide.Gate)
                ide.Function.Reset();
            ide.Channel = 0x1F0;
            ide.Begin(0x20, 1);
            Assert.Equal(disk.Content[512..1024], ide.ReadAll());
        }
        finally
        {
            ide.Dispose();
        }
    }

    private static void Access(IdeMachine ide, Random random)
    {
        ide.Channel = random.Next(2) == 0 ? 0x1F0 : 0x170;
        ulong channel = (ulong)ide.Channel;
        int size = 1 << random.Next(3);
        switch (random.Next(16))
        {
            case 0 or 1 or 2:
                ide.OutPort(channel + (ulong)random.Next(1, 7), 1, (ulong)random.Next(256));
                break;
            case 3:
                ide.Out(IdeMachine.Device, random.Next(4) == 0 ? 0xF0 : 0xE0);
                break;
            case 4:
                // Addresses that exist, so that there are transfers.
                ide.Out(IdeMachine.Middle, random.Next(8));
                ide.Out(IdeMachine.High, 0);
                ide.Out(IdeMachine.Count, random.Next(1, 40));
                break;
            case 5 or 6:
                ide.Out(IdeMachine.Status, random.Next(8) == 0 ? random.Next(256) : Commands[random.Next(Commands.Length)]);
                break;
            case 7:
                byte[] packet = new byte[12];
                random.NextBytes(packet);
                if (random.Next(2) == 0)
                    Array.Clear(packet, 1, 6);
                packet[0] = Packets[random.Next(Packets.Length)];
                for (int i = 0; i < 12; i += 2)
                    ide.OutPort(channel, 2, BitConverter.ToUInt16(packet, i));
                break;
            case 8 or 9:
                for (int i = random.Next(600); i >= 0; i--)
                    _ = ide.InPort(channel, size);
                break;
            case 10 or 11:
                for (int i = random.Next(600); i >= 0; i--)
                    ide.OutPort(channel, size, (ulong)random.NextInt64());
                break;
            case 12:
                ide.Control(random.Next(8) == 0 ? random.Next(256) : random.Next(2) * 2);
                break;
            case 13:
                _ = ide.InPort(channel + (ulong)random.Next(8), size);
                break;
            case 14:
                // Not the table's address: a table in the middle of data leads anywhere.
                ide.OutPort(IdeMachine.BusMaster + (ulong)(random.Next(2) * 8) + (ulong)(random.Next(2) * 2), 1, (ulong)random.Next(256));
                _ = ide.InPort(IdeMachine.BusMaster + (ulong)random.Next(16), size);
                break;
            default:
                // A table whose regions lie in the upper part of memory, or nowhere.
                var pieces = new (uint, int)[random.Next(1, 6)];
                for (int i = 0; i < pieces.Length; i++)
                    pieces[i] = ((uint)(random.Next(10) == 0 ? random.NextInt64(0x4000_0000, 0x1_0000_0000) : random.Next(0x10_0000, 0x40_0000)), random.Next(0x1_0000));
                ide.SetTable(pieces);
                ide.StartMaster(random.Next(2) == 0);
                break;
        }
    }
}
