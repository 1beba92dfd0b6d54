using Doppel.Machine.Cpu.Models;

namespace Doppel.Machine.Cpu.System;

/// <summary>
/// FXSAVE, FXRSTOR and the XSAVE family (Intel SDM vol. 1, chapter 13, and vol. 2). The operand is a linear address;
/// <c>is64BitForm</c> says that REX.W makes the x87 pointers 64 bits wide; <c>isStack</c> makes a non-canonical address #SS.
/// The XSAVE family takes its mask from EDX:EAX. All throw before anything is changed: #UD, #NM, #GP and page faults, in that order. Belongs
/// to the vCPU's thread.
/// </summary>
/// <remarks>
/// The guest's registers lie in <see cref="CpuState.XsaveArea"/>, whose header nobody maintains. Whether a component is in
/// use (XINUSE) is found by comparing it with its initial state: XSTATE_BV is then as exact as hardware's, which
/// may err towards "in use" only. There is no modified optimisation, so XSAVEOPT and XSAVES write whatever is in use.
/// The x87 selectors are saved as zero, as CPUID.7:EBX[13] says.
/// </remarks>
public static unsafe class XsaveInstructions
{
    private const ulong Compacted = 1UL << 63;
    private const int HeaderSize = 64;
    private const int ImageSize = XsaveLayout.AvxOffset + XsaveLayout.AvxSize;
    private const int AlignmentOfFxsave = 16;
    private const int AlignmentOfXsave = 64;

    /// <summary>XINUSE: the components that are not in their initial state.</summary>
    public static ulong InUse(CpuState* state) => ExtendedState.InUse(state);

    /// <summary>FXSAVE and FXSAVE64. Without CR4.OSFXSR, XMM and MXCSR are left out.</summary>
    public static void Fxsave(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        CheckFxsr(cpu, address);
        CpuState* s = cpu.State;
        byte* bytes = stackalloc byte[ImageSize];
        var image = new SaveImage(bytes);
        ExtendedState.SaveX87(s, bytes, is64BitForm);
        image.Mark(0, ExtendedState.X87ControlSize);
        image.Mark(ExtendedState.StOffset, ExtendedState.StSize);
        if ((s->Cr4 & Cr4.Osfxsr) != 0)
        {
            ExtendedState.SaveMxcsr(s, bytes);
            image.Mark(ExtendedState.MxcsrOffset, 8);
            ExtendedState.Save(s, bytes, ExtendedState.XmmOffset);
            image.Mark(ExtendedState.XmmOffset, ExtendedState.VectorBytes(s));
        }

        SaveImage.Probe(cpu, address, XsaveLayout.HeaderOffset, isStack);
        image.WriteTo(cpu, address, isStack);
    }

    /// <summary>FXRSTOR and FXRSTOR64. #GP for reserved bits of MXCSR.</summary>
    public static void Fxrstor(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        CheckFxsr(cpu, address);
        CpuState* s = cpu.State;
        byte* image = stackalloc byte[XsaveLayout.HeaderOffset];
        cpu.Linear.ReadBlock(address, new Span<byte>(image, XsaveLayout.HeaderOffset), isStack);
        if ((s->Cr4 & Cr4.Osfxsr) != 0)
        {
            uint mxcsr = CheckedMxcsr(cpu, image);
            s->Mxcsr = mxcsr;
            ExtendedState.Load(s, image, ExtendedState.XmmOffset);
        }

        ExtendedState.LoadX87(s, image, is64BitForm);
    }

    /// <summary>XSAVE and XSAVE64.</summary>
    public static void Xsave(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false) =>
        SaveStandard(cpu, address, is64BitForm, isStack, isOptimized: false);

    /// <summary>XSAVEOPT and XSAVEOPT64.</summary>
    public static void Xsaveopt(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        Require(cpu, CpuFeature.Xsaveopt);
        SaveStandard(cpu, address, is64BitForm, isStack, isOptimized: true);
    }

    /// <summary>XSAVEC and XSAVEC64.</summary>
    public static void Xsavec(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        Require(cpu, CpuFeature.Xsavec);
        CheckXsave(cpu, address, needsRing0: false);
        SaveCompacted(cpu, address, cpu.State->Xcr0 & Mask(cpu), is64BitForm, isStack);
    }

    /// <summary>XSAVES and XSAVES64. #GP outside ring 0.</summary>
    public static void Xsaves(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        Require(cpu, CpuFeature.Xsaves);
        CheckXsave(cpu, address, needsRing0: true);
        SaveCompacted(cpu, address, (cpu.State->Xcr0 | cpu.State->Xss) & Mask(cpu), is64BitForm, isStack);
    }

    /// <summary>XRSTOR and XRSTOR64, of either format.</summary>
    public static void Xrstor(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        CheckXsave(cpu, address, needsRing0: false);
        ulong enabled = cpu.State->Xcr0;
        byte* image = stackalloc byte[ImageSize];
        cpu.Linear.ReadBlock(address, new Span<byte>(image, XsaveLayout.MinimumSize), isStack);
        ulong* header = (ulong*)(image + XsaveLayout.HeaderOffset);
        if ((header[1] & Compacted) != 0 && cpu.Model.Has(CpuFeature.Xsavec))
        {
            RestoreCompacted(cpu, address, image, enabled, is64BitForm, isStack);
            return;
        }

        if ((header[0] & ~enabled) != 0 || header[1] != 0 || header[2] != 0)
            throw cpu.GeneralProtection();
        ulong requested = Mask(cpu) & enabled;
        ulong present = requested & header[0];
        CpuState* s = cpu.State;
        uint mxcsr = s->Mxcsr;
        // MXCSR comes from memory whatever XSTATE_BV says (vol. 1, 13.8.1).
        if ((requested & (XsaveLayout.Sse | XsaveLayout.Avx)) != 0)
            mxcsr = CheckedMxcsr(cpu, image);
        ReadAvx(cpu, address, image, present, isStack);
        s->Mxcsr = mxcsr;
        Load(s, image, requested, present, is64BitForm);
    }

    /// <summary>XRSTORS and XRSTORS64, of the compacted format only. #GP outside ring 0.</summary>
    public static void Xrstors(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack = false)
    {
        Require(cpu, CpuFeature.Xsaves);
        CheckXsave(cpu, address, needsRing0: true);
        byte* image = stackalloc byte[ImageSize];
        cpu.Linear.ReadBlock(address, new Span<byte>(image, XsaveLayout.MinimumSize), isStack);
        if ((((ulong*)(image + XsaveLayout.HeaderOffset))[1] & Compacted) == 0)
            throw cpu.GeneralProtection();
        RestoreCompacted(cpu, address, image, cpu.State->Xcr0 | cpu.State->Xss, is64BitForm, isStack);
    }

    private static void SaveStandard(VirtualCpu cpu, ulong address, bool is64BitForm, bool isStack, bool isOptimized)
    {
        CheckXsave(cpu, address, needsRing0: false);
        CpuState* s = cpu.State;
        ulong requested = s->Xcr0 & Mask(cpu);
        ulong inUse = ExtendedState.InUse(s) & requested;
        byte* bytes = stackalloc byte[ImageSize];
        var image = new SaveImage(bytes);
        AddComponents(ref image, s, isOptimized ? inUse : requested, is64BitForm);
        if ((requested & (XsaveLayout.Sse | XsaveLayout.Avx)) != 0)
        {
            ExtendedState.SaveMxcsr(s, bytes);
            image.Mark(ExtendedState.MxcsrOffset, 8);
        }

        SaveImage.Probe(cpu, address, (int)XsaveLayout.StandardSize(requested), isStack);
        ulong old = 0;
        cpu.Linear.ReadBlock(address + XsaveLayout.HeaderOffset, new Span<byte>(&old, 8), isStack);
        *(ulong*)(bytes + XsaveLayout.HeaderOffset) = (old & ~requested) | inUse;
        image.Mark(XsaveLayout.HeaderOffset, 8);
        image.WriteTo(cpu, address, isStack);
    }

    private static void SaveCompacted(VirtualCpu cpu, ulong address, ulong requested, bool is64BitForm, bool isStack)
    {
        CpuState* s = cpu.State;
        ulong saved = ExtendedState.InUse(s) & requested;
        if (s->Mxcsr != ExtendedState.MxcsrInitial)
            saved |= requested & XsaveLayout.Sse;
        byte* bytes = stackalloc byte[ImageSize];
        var image = new SaveImage(bytes);
        AddComponents(ref image, s, saved, is64BitForm);
        if ((saved & XsaveLayout.Sse) != 0)
        {
            ExtendedState.SaveMxcsr(s, bytes);
            image.Mark(ExtendedState.MxcsrOffset, 8);
        }

        ulong* header = (ulong*)(bytes + XsaveLayout.HeaderOffset);
        header[0] = saved;
        header[1] = requested | Compacted;
        image.Mark(XsaveLayout.HeaderOffset, 16);
        SaveImage.Probe(cpu, address, (int)XsaveLayout.CompactedSize(saved), isStack);
        image.WriteTo(cpu, address, isStack);
    }

    private static void AddComponents(ref SaveImage image, CpuState* s, ulong components, bool is64BitForm)
    {
        if ((components & XsaveLayout.X87) != 0)
        {
            ExtendedState.SaveX87(s, image.Bytes, is64BitForm);
            image.Mark(0, ExtendedState.X87ControlSize);
            image.Mark(ExtendedState.StOffset, ExtendedState.StSize);
        }

        if ((components & XsaveLayout.Sse) != 0)
        {
            ExtendedState.Save(s, image.Bytes, ExtendedState.XmmOffset);
            image.Mark(ExtendedState.XmmOffset, ExtendedState.VectorBytes(s));
        }

        if ((components & XsaveLayout.Avx) != 0)
        {
            ExtendedState.Save(s, image.Bytes, XsaveLayout.AvxOffset);
            image.Mark(XsaveLayout.AvxOffset, ExtendedState.VectorBytes(s));
        }
    }

    private static void RestoreCompacted(
        VirtualCpu cpu, ulong address, byte* image, ulong enabled, bool is64BitForm, bool isStack)
    {
        ulong* header = (ulong*)(image + XsaveLayout.HeaderOffset);
        ulong format = header[1] & ~Compacted;
        bool isReservedSet = new ReadOnlySpan<ulong>(header + 2, (HeaderSize / 8) - 2).ContainsAnyExcept(0UL);
        if ((format & ~enabled) != 0 || (header[0] & ~format) != 0 || isReservedSet)
            throw cpu.GeneralProtection();
        ulong requested = Mask(cpu) & enabled;
        ulong present = requested & header[0];
        CpuState* s = cpu.State;
        uint mxcsr = s->Mxcsr;
        // Here MXCSR belongs to the SSE component (vol. 1, 13.8.2).
        if ((present & XsaveLayout.Sse) != 0)
            mxcsr = CheckedMxcsr(cpu, image);
        else if ((requested & XsaveLayout.Sse) != 0)
            mxcsr = ExtendedState.MxcsrInitial;
        ReadAvx(cpu, address, image, present, isStack);
        s->Mxcsr = mxcsr;
        Load(s, image, requested, present, is64BitForm);
    }

    private static void ReadAvx(VirtualCpu cpu, ulong address, byte* image, ulong present, bool isStack)
    {
        if ((present & XsaveLayout.Avx) != 0)
            cpu.Linear.ReadBlock(address + XsaveLayout.AvxOffset, new Span<byte>(image + XsaveLayout.AvxOffset, XsaveLayout.AvxSize), isStack);
    }

    private static void Load(CpuState* s, byte* image, ulong requested, ulong present, bool is64BitForm)
    {
        if ((present & XsaveLayout.X87) != 0)
            ExtendedState.LoadX87(s, image, is64BitForm);
        else if ((requested & XsaveLayout.X87) != 0)
            ExtendedState.InitializeX87(s);
        if ((present & XsaveLayout.Sse) != 0)
            ExtendedState.Load(s, image, ExtendedState.XmmOffset);
        else if ((requested & XsaveLayout.Sse) != 0)
            ExtendedState.Initialize(s, ExtendedState.XmmOffset);
        if ((present & XsaveLayout.Avx) != 0)
            ExtendedState.Load(s, image, XsaveLayout.AvxOffset);
        else if ((requested & XsaveLayout.Avx) != 0)
            ExtendedState.Initialize(s, XsaveLayout.AvxOffset);
    }

    private static uint CheckedMxcsr(VirtualCpu cpu, byte* image)
    {
        uint mxcsr = *(uint*)(image + ExtendedState.MxcsrOffset);
        return (mxcsr & ~ExtendedState.MxcsrMask) == 0 ? mxcsr : throw cpu.GeneralProtection();
    }

    private static ulong Mask(VirtualCpu cpu) => (uint)cpu.State->Gpr[0] | (cpu.State->Gpr[2] << 32);

    private static void Require(VirtualCpu cpu, CpuFeature feature)
    {
        if (!cpu.Model.Has(feature))
            throw cpu.InvalidOpcode();
    }

    private static void CheckFxsr(VirtualCpu cpu, ulong address)
    {
        if ((cpu.State->Cr0 & (Cr0.Em | Cr0.Ts)) != 0)
            throw cpu.Fault(ExceptionVector.DeviceNotAvailable);
        if ((address & (AlignmentOfFxsave - 1)) != 0)
            throw cpu.GeneralProtection();
    }

    private static void CheckXsave(VirtualCpu cpu, ulong address, bool needsRing0)
    {
        CpuState* s = cpu.State;
        if ((s->Cr4 & Cr4.Osxsave) == 0)
            throw cpu.InvalidOpcode();
        if ((s->Cr0 & Cr0.Ts) != 0)
            throw cpu.Fault(ExceptionVector.DeviceNotAvailable);
        if (needsRing0)
            ControlRegisters.RequireRing0(cpu);
        if ((address & (AlignmentOfXsave - 1)) != 0)
            throw cpu.GeneralProtection();
    }
}
