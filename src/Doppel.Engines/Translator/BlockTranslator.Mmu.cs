namespace Doppel.Engines.Translator;

/// <summary>Memory management: what happens on a TLB miss.</summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>A check of the TLB that failed: refill and try again, or leave.</summary>
    private void EmitMiss(in ColdExit exit)
    {
        _code.StoreSlotImmediate(StateLayout.ExitId, _exits.Count);
        _exits.Add(WithShadow(exit.Record));
        _code.LeaCode(RegisterMap.Temporary, (byte*)exit.Check);
        _code.JumpTo(exit.Record.IsWrite ? _stubs.RefillWrite : _stubs.RefillRead);
    }
}
