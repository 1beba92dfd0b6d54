using Doppel.Host.Processor;

namespace Doppel.Host.Tests.Processor;

public sealed class HostRandomTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(256)]
    [InlineData(100_000)]
    public void All_bytes_are_filled_and_differ_from_call_to_call(int length)
    {
        // A byte that stays zero in 16 fills of good numbers is one in 2 to the 128th.
        byte[] seen = new byte[length];
        byte[] bytes = new byte[length];
        for (int i = 0; i < 16; i++)
        {
            Array.Clear(bytes);
            HostRandom.Fill(bytes);
            for (int k = 0; k < length; k++)
                seen[k] |= bytes[k];
        }

        Assert.DoesNotContain((byte)0, seen);
        Assert.NotEqual(HostRandom.Next(), HostRandom.Next());
    }
}
