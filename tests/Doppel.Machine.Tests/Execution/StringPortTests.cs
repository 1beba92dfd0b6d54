using Doppel.Machine.Bus;

namespace Doppel.Machine.Tests.Execution;

public sealed unsafe class StringPortTests : IDisposable
{
    private const ushort Port = 0xE0;
    private readonly ProgramGuest _g = new();
    private readonly Recorder _recorder = new();

    public StringPortTests()
    {
        _g.Cpu.Ports.Map(Port, 4, _recorder);
        _g.Write64(ProgramGuest.Data, 0x8877665544332211);
        _g.State->Gpr[1] = 2;
        _g.State->Gpr[2] = Port;
        _g.State->Gpr[6] = ProgramGuest.Data;
    }

    public void Dispose() => _g.Dispose();

    [Fact]
    public void OUTSB_writes_bytes()
    {
        _g.Run(0xF3, 0x6E);
        Assert.Equal([(1, 0x11), (1, 0x22)], _recorder.Writes);
        Assert.Equal(ProgramGuest.Data + 2, _g.State->Gpr[6]);
    }

    [Fact]
    public void OUTSW_writes_words()
    {
        _g.Run(0x66, 0xF3, 0x6F);
        Assert.Equal([(2, 0x2211), (2, 0x4433)], _recorder.Writes);
    }

    [Fact]
    public void OUTSD_writes_double_words_also_with_REX_W()
    {
        _g.Run(0xF3, 0x48, 0x6F);
        Assert.Equal([(4, 0x44332211), (4, 0x88776655)], _recorder.Writes);
    }

    private sealed class Recorder : IIoRegion
    {
        public List<(int Size, ulong Value)> Writes { get; } = [];

        public string Name => "recorder";

        public ulong Read(ulong offset, int size) => 0;

        public void Write(ulong offset, int size, ulong value) => Writes.Add((size, value));
    }
}
