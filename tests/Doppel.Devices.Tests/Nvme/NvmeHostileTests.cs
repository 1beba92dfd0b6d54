using System.Buffers.Binary;
using Doppel.Devices.Tests.Virtio;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Nvme;

/// <summary>Random commands, data pointers and registers: the controller touches only what it was given, and works after a reset.</summary>
public sealed class NvmeHostileTests(ITestOutputHelper output)
{
    [Fact]
    public Task Random_commands_and_registers_do_no_harm() => HarmAsync(60);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_commands_do_no_harm() => HarmAsync(10_000);

    // Each round has 100 commands.
    private async Task HarmAsync(int rounds)
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        using var driver = new NvmeDriver([new MemoryBlockBackend(1 << 20)]);
        byte[] low = new byte[NvmeDriver.QueueArea], high = new byte[NvmeDriver.RamSize - NvmeDriver.BufferEnd];
        random.NextBytes(low);
        random.NextBytes(high);
        Assert.True(driver.Memory.TryWrite(0, low));
        Assert.True(driver.Memory.TryWrite(NvmeDriver.BufferEnd, high));
        for (int round = 0; round < rounds; round++)
        {
            await driver.StartWithQueuesAsync();
            for (int i = 0; i < 100; i++)
            {
                FillBuffers(driver, random);
                byte[] command = NvmeDriver.Command(
                    (byte)random.Next(14), (uint)random.Next(3), Address(random), Address(random) | (random.Next(3) == 0 ? (ulong)random.Next(6) << 60 : 0),
                    (uint)(random.Next(4) == 0 ? random.NextInt64() : random.Next(0x7_0010)), (uint)random.Next(8), (uint)random.Next(64), random.Next(4));
                _ = driver.Submit(random.Next(2), command);
                while (driver.TryNext(0) is not null || driver.TryNext(1) is not null)
                {
                }

                if (random.Next(4) == 0)
                    Poke(driver, random);
            }
        }

        await driver.StartWithQueuesAsync();
        ulong page = driver.Allocate(4096);
        Assert.Equal(0, (await driver.ReadAsync(0, 1, page)).Status);
        Assert.Equal(low, driver.Bytes(0, low.Length));
        Assert.Equal(high, driver.Bytes(NvmeDriver.BufferEnd, high.Length));
    }

    private static void Poke(NvmeDriver driver, Random random)
    {
        // Not the addresses of the admin queues, which a guest may put anywhere.
        int register = random.Next(3) switch
        {
            0 => 0x1000 + (4 * random.Next(16)),
            1 => 0x0C + (4 * random.Next(6)),
            _ => 0x100 + (4 * random.Next(64)),
        };
        driver.Write(register, random.Next(2) == 0 ? (uint)random.Next(16) : (uint)random.NextInt64());
        _ = driver.Read(register);
    }

    private static ulong Address(Random random) => random.Next(12) switch
    {
        0 => NvmeDriver.RamSize + (ulong)random.Next(4096),
        1 => NvmeDriver.RamSize,
        2 => ulong.MaxValue - (ulong)random.Next(8192),
        3 => 0xFEE0_0000,
        4 => NvmeDriver.BufferArea + (ulong)random.Next(0x1_0000),
        _ => NvmeDriver.BufferArea + ((ulong)random.Next(16) * 4096),
    };

    // The buffers are what the guest gives; they hold lists whose entries lead to them and to where nothing is.
    private static void FillBuffers(NvmeDriver driver, Random random)
    {
        byte[] bytes = new byte[8];
        for (int i = 0; i < 32; i++)
        {
            ulong entry = Address(random);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, entry);
            Assert.True(driver.Memory.TryWrite(NvmeDriver.BufferArea + ((ulong)random.Next(0x2000) * 8), bytes));
        }
    }
}
