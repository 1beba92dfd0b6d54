using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class IoPermissionTests : IDisposable
{
    private const ulong Bitmap = SegmentGuest.Tss + 0x68;
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void IoplAdmitsEveryPortButNotInVirtual8086Mode()
    {
        _g.EnterProtected(3);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.Iopl;
        new Span<byte>(_g.Ram + Bitmap, 0x400).Fill(0xFF);
        IoPermission.Check(_g.Cpu, 0x80, 4);
        _g.EnterVirtual(iopl: 3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x80, 1));
    }

    [Fact]
    public void AboveIoplTheBitmapDecidesForEachPort()
    {
        _g.EnterProtected(3);
        _g.Ram[Bitmap + 0x10] = 0x02;
        IoPermission.Check(_g.Cpu, 0x80, 1);
        IoPermission.Check(_g.Cpu, 0x82, 4);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x81, 1));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x7F, 4));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x80, 2));
    }

    [Fact]
    public void AnAccessAcrossAByteOfTheBitmapChecksBoth()
    {
        _g.EnterProtected(3);
        _g.Ram[Bitmap + 0x11] = 0x01;
        IoPermission.Check(_g.Cpu, 0x86, 2);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x87, 2));
    }

    [Fact]
    public void PortsBeyondTheTssLimitAreRefused()
    {
        _g.EnterProtected(3);
        _g.State->Tr.Limit = 0x68 + 1;
        IoPermission.Check(_g.Cpu, 0, 1);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 8, 1));
        _g.State->Tr.Limit = 0x67 - 1;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0, 1));
    }

    [Fact]
    public void A16BitTssHasNoBitmap()
    {
        _g.EnterProtected(3);
        _g.State->Tr.Attributes = (SegmentAttributes)0x83;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0, 1));
    }

    [Fact]
    public void TheBitmapIsReadAsSupervisor()
    {
        _g.EnterLong(3);
        _g.Write64(0x12000, 0x83);
        _g.Cpu.Tlb.FlushAll();
        IoPermission.Check(_g.Cpu, 0x80, 1);
        _g.Ram[Bitmap + 0x10] = 1;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => IoPermission.Check(_g.Cpu, 0x80, 1));
    }
}
