using Doppel.Devices.Storage;
using Doppel.Machine.State;

namespace Doppel.Devices.Ata;

/// <summary>
/// A drive on an ATA cable (ATA/ATAPI-7, volume 2): its registers, the block of data that it exchanges with its host, and the
/// one operation of its medium. A derived class has the commands. The machine's I/O lock is held for every member, unless it
/// says otherwise.
/// </summary>
public abstract class AtaDevice : IBackgroundDevice, IDisposable
{
    /// <summary>Bits of the status register.</summary>
    internal const byte Busy = 0x80, Ready = 0x40, DeviceFault = 0x20, SeekComplete = 0x10, DataRequest = 0x08, ErrorBit = 0x01;

    /// <summary>Bits of the error register.</summary>
    internal const byte Uncorrectable = 0x40, NotFound = 0x10, Aborted = 0x04;

    /// <summary>Bytes that a drive reads ahead, or exchanges by DMA at a time.</summary>
    protected const int BufferSize = 64 * 1024;

    private readonly OperationSlot _medium;
    private byte[] _buffer = new byte[BufferSize];

    /// <summary>Creates a drive without a cable.</summary>
    /// <param name="name">Its name in reports, for example "ide0.0".</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="full">As for <see cref="OperationSlot"/>.</param>
    private protected AtaDevice(string name, DevicePlatform platform, Action<StorageFullException>? full)
    {
        ArgumentNullException.ThrowIfNull(platform);
        Name = name;
        _medium = new OperationSlot(name, platform, full);
    }

    /// <summary>Its name in reports.</summary>
    public string Name { get; }

    /// <summary>Its registers.</summary>
    public AtaTaskFile Registers { get; } = new();

    /// <summary>What it waits for.</summary>
    public AtaPhase Phase { get; private set; }

    /// <summary>Status register; reading this acknowledges nothing.</summary>
    public byte Status { get; protected set; }

    /// <summary>Error register.</summary>
    public byte Error { get; protected set; }

    /// <summary>True while the drive asks for an interrupt.</summary>
    public bool InterruptPending { get; private set; }

    /// <summary>True when the drive shows itself as Serial ATA.</summary>
    public bool IsSerial { get; set; }

    /// <summary>The middle and high registers after a reset, by which a host tells disks from packet devices: middle in bits 7 to 0.</summary>
    public abstract ushort Signature { get; }

    /// <summary>Where its cable leads to.</summary>
    internal IAtaHost? Host { get; set; }

    /// <summary>True while the drive takes no command.</summary>
    internal bool IsBusy => Phase != AtaPhase.Idle || (Status & Busy) != 0;

    /// <summary>Bytes that the host may still exchange in this block.</summary>
    internal int BlockLeft => BlockEnd - Position;

    /// <summary>The block and what is behind it.</summary>
    protected byte[] Buffer => _buffer;

    /// <summary>Next byte of the buffer that the host exchanges.</summary>
    protected int Position { get; set; }

    /// <summary>End of the block that the host may exchange now.</summary>
    protected int BlockEnd { get; set; }

    /// <summary>End of the data in the buffer.</summary>
    protected int Filled { get; set; }

    /// <summary>Executes a command; dropped while the drive is busy, but for a packet device's reset.</summary>
    public void Execute(byte command)
    {
        ClearInterrupt();
        if (IsBusy && !IsReset(command))
            return;
        Error = 0;
        Start(command);
    }

    /// <summary>Reads from the data register.</summary>
    /// <param name="data">Filled with the next bytes; zeros where there are none.</param>
    public void ReadData(Span<byte> data)
    {
        data.Clear();
        if (Phase != AtaPhase.DataIn)
            return;
        int part = Math.Min(data.Length, BlockLeft);
        _buffer.AsSpan(Position, part).CopyTo(data);
        Position += part;
        if (Position == BlockEnd)
            OnBlockRead();
    }

    /// <summary>Writes to the data register; what the drive does not expect is dropped.</summary>
    public void WriteData(ReadOnlySpan<byte> data)
    {
        if (Phase != AtaPhase.DataOut)
            return;
        int part = Math.Min(data.Length, BlockLeft);
        data[..part].CopyTo(_buffer.AsSpan(Position));
        Position += part;
        if (Position == BlockEnd)
            OnBlockWritten();
    }

    /// <summary>Goes on with DMA, now that the host is ready.</summary>
    public void ContinueDma()
    {
        if (Phase is not (AtaPhase.DmaIn or AtaPhase.DmaOut) || Host is not IAtaHost host)
            return;
        Span<byte> rest = _buffer.AsSpan(Position, BlockEnd - Position);
        int part = Phase == AtaPhase.DmaIn ? host.TakeDma(this, rest) : host.GiveDma(this, rest);
        Position += part;
        if (Position != BlockEnd)
        {
            host.OnInterrupt(this);
            return;
        }

        if (Phase == AtaPhase.DmaIn)
            OnBlockRead();
        else
            OnBlockWritten();
    }

    /// <summary>Acknowledges the interrupt, as reading the status register does.</summary>
    public void ClearInterrupt()
    {
        if (!InterruptPending)
            return;
        InterruptPending = false;
        Host?.OnInterrupt(this);
    }

    /// <summary>The state after power-on or a hard reset.</summary>
    public virtual void Reset() => SoftReset();

    /// <summary>The state after a software reset: no command, the signature in the registers.</summary>
    public virtual void SoftReset()
    {
        Stop();
        ClearInterrupt();
        Registers.Device = 0;
        IsStandingBy = false;
        ShowSignature();
    }

    /// <summary>Shows BSY while the host holds the reset.</summary>
    internal void BeginReset()
    {
        Stop();
        ClearInterrupt();
        Status = Busy;
    }

    /// <summary>Ends DMA that the host can't go on with: the command fails.</summary>
    internal void AbortDma()
    {
        if (Phase is AtaPhase.DmaIn or AtaPhase.DmaOut)
            Fail(Aborted);
    }

    /// <inheritdoc/>
    public Task HoldAsync() => _medium.HoldAsync();

    /// <inheritdoc/>
    public void Release() => _medium.Release();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Writes the state; the host's section has it.</summary>
    internal void Save(StateWriter writer)
    {
        Registers.Save(writer);
        writer.Write((byte)Phase);
        writer.Write(Status);
        writer.Write(Error);
        writer.Write(InterruptPending);
        writer.Write(Position);
        writer.Write(BlockEnd);
        writer.Write(Filled);
        writer.Write(_buffer.AsSpan(0, Math.Max(Filled, BlockEnd)));
        SaveCommand(writer);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    internal Action ReadState(StateReader reader, string section)
    {
        Action registers = Registers.ReadState(reader, section);
        var phase = (AtaPhase)StateCheck.Range(section, "phase", reader.ReadByte(), 0, (int)AtaPhase.DmaOut);
        byte status = reader.ReadByte(), error = reader.ReadByte();
        bool interrupt = reader.ReadBool();
        int position = (int)StateCheck.Range(section, "position", reader.ReadInt32(), 0, BufferSize);
        int blockEnd = (int)StateCheck.Range(section, "end of the block", reader.ReadInt32(), position, BufferSize);
        int filled = (int)StateCheck.Range(section, "data", reader.ReadInt32(), 0, BufferSize);
        byte[] data = StateCheck.Length(section, "data", reader.ReadBytes(BufferSize), Math.Max(filled, blockEnd));
        Action command = ReadCommand(reader, section);
        return () =>
        {
            _medium.HoldForRestore();
            registers();
            (Phase, Status, Error, InterruptPending) = (phase, status, error, interrupt);
            (Position, BlockEnd, Filled) = (position, blockEnd, filled);
            data.CopyTo(_buffer, 0);
            command();
            if (phase == AtaPhase.Medium)
                BeginMedium();
        };
    }

    /// <summary>Stops the drive and waits for its medium.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
            _medium.Dispose();
    }

    /// <summary>True after STANDBY, SLEEP or their kin, until the medium is wanted again.</summary>
    protected bool IsStandingBy { get; set; }

    /// <summary>Does a command of power management (ATA8-ACS, 4.6, and the codes of ATA-3), if it is one.</summary>
    protected bool TryManagePower(byte command)
    {
        switch (command)
        {
            case 0xE0 or 0xE2 or 0xE6 or 0x94 or 0x96 or 0x99:
                IsStandingBy = true;
                break;
            case 0xE1 or 0xE3 or 0x95 or 0x97:
                IsStandingBy = false;
                break;
            case 0xE5 or 0x98:
                Registers.Count = IsStandingBy ? (byte)0 : (byte)0xFF;
                break;
            default:
                return false;
        }

        Complete();
        return true;
    }

    /// <summary>True for the command that a busy drive takes too.</summary>
    protected virtual bool IsReset(byte command) => false;

    /// <summary>Begins a command.</summary>
    protected abstract void Start(byte command);

    /// <summary>The host has taken the block.</summary>
    protected abstract void OnBlockRead();

    /// <summary>The host has given the block.</summary>
    protected abstract void OnBlockWritten();

    /// <summary>Does with the medium what the state of the command says.</summary>
    /// <param name="buffer">The drive's buffer; it belongs to the operation until that has ended.</param>
    protected abstract ValueTask UseMediumAsync(byte[] buffer);

    /// <summary>The medium has done it.</summary>
    protected abstract void OnMediumDone(bool succeeded);

    /// <summary>Writes the state of the command.</summary>
    protected abstract void SaveCommand(StateWriter writer);

    /// <summary>Reads and checks what <see cref="SaveCommand"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    protected abstract Action ReadCommand(StateReader reader, string section);

    /// <summary>Puts the signature into the registers (ATA/ATAPI-7, 9.12).</summary>
    protected void ShowSignature()
    {
        Registers.SetLba48(((ulong)Signature << 8) | 1);
        Registers.SetCount16(1);
        Error = 1;
        Status = Signature == 0 ? (byte)(Ready | SeekComplete) : (byte)0;
    }

    /// <summary>Forgets the command that is under way.</summary>
    protected void Stop()
    {
        if (_medium.Abandon())
            _buffer = new byte[BufferSize];
        Phase = AtaPhase.Idle;
        (Position, BlockEnd, Filled) = (0, 0, 0);
    }

    /// <summary>Completes when no operation, also no forgotten one, uses the medium any more.</summary>
    protected Task MediumEnded() => _medium.Ended();

    /// <summary>Makes the medium work: <see cref="UseMediumAsync"/>.</summary>
    protected void BeginMedium()
    {
        Phase = AtaPhase.Medium;
        Status = Busy | Ready | SeekComplete;
        byte[] buffer = _buffer;
        _medium.Begin(() => UseMediumAsync(buffer), OnMediumDone);
    }

    /// <summary>Offers a block at the data register.</summary>
    /// <param name="phase"><see cref="AtaPhase.DataIn"/> or <see cref="AtaPhase.DataOut"/>.</param>
    /// <param name="length">Bytes from <see cref="Position"/> on.</param>
    /// <param name="interrupts">True to ask for an interrupt.</param>
    protected void Offer(AtaPhase phase, int length, bool interrupts)
    {
        Phase = phase;
        BlockEnd = Position + length;
        Status = Ready | SeekComplete | DataRequest;
        if (interrupts)
            RaiseInterrupt();
    }

    /// <summary>Exchanges a block by DMA as soon as the host is ready.</summary>
    /// <param name="phase"><see cref="AtaPhase.DmaIn"/> or <see cref="AtaPhase.DmaOut"/>.</param>
    /// <param name="length">Bytes from <see cref="Position"/> on.</param>
    protected void OfferDma(AtaPhase phase, int length)
    {
        Phase = phase;
        BlockEnd = Position + length;
        Status = Ready | SeekComplete | DataRequest;
        ContinueDma();
    }

    /// <summary>Ends a command that went well.</summary>
    /// <param name="interrupts">False for one whose last block the host has just read.</param>
    protected void Complete(bool interrupts = true)
    {
        Phase = AtaPhase.Idle;
        Status = Ready | SeekComplete;
        if (interrupts)
            RaiseInterrupt();
        else
            Host?.OnInterrupt(this);
    }

    /// <summary>Ends a command with an error.</summary>
    protected void Fail(byte error)
    {
        Phase = AtaPhase.Idle;
        Error = error;
        Status = Ready | SeekComplete | ErrorBit;
        RaiseInterrupt();
    }

    private void RaiseInterrupt()
    {
        InterruptPending = true;
        Host?.OnInterrupt(this);
    }
}
