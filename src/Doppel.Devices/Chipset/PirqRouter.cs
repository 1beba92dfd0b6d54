using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Chipset;

/// <summary>
/// The PIIX3's routing of the four PCI interrupt links to ISA interrupts (data sheet 290550, 2.2.5): a link drives the
/// interrupt that its register names, beside whatever else drives that. Its state is that of the register and of the devices.
/// </summary>
public sealed class PirqRouter
{
    /// <summary>Number of links.</summary>
    public const int LinkCount = 4;

    private readonly Func<int, IInterruptLine> _interrupt;
    private readonly IInterruptLine?[,] _outputs = new IInterruptLine?[LinkCount, 16];
    private readonly bool[] _levels = new bool[LinkCount];
    private readonly int[] _routes = [-1, -1, -1, -1];
    private readonly Lock _lock = new();

    /// <summary>Creates the router with no link routed.</summary>
    /// <param name="interrupt">A further wire of an ISA interrupt, 0 to 15, asked for once by each link that is routed there.</param>
    public PirqRouter(Func<int, IInterruptLine> interrupt)
    {
        ArgumentNullException.ThrowIfNull(interrupt);
        _interrupt = interrupt;
    }

    /// <summary>True for interrupts to which a link can be routed.</summary>
    public static bool CanRoute(int irq) => irq is >= 3 and <= 15 and not (8 or 13);

    /// <summary>Routes a link, or (any other number) to nowhere.</summary>
    public void Route(int link, int irq)
    {
        lock (_lock)
        {
            int wanted = CanRoute(irq) ? irq : -1;
            if (wanted == _routes[link])
                return;
            Output(link)?.Set(false);
            _routes[link] = wanted;
            Output(link)?.Set(_levels[link]);
        }
    }

    /// <summary>The wire of a link.</summary>
    public IInterruptLine Link(int link) => new CallbackLine(level =>
    {
        lock (_lock)
        {
            _levels[link] = level;
            Output(link)?.Set(level);
        }
    });

    private IInterruptLine? Output(int link) =>
        _routes[link] < 0 ? null : _outputs[link, _routes[link]] ??= _interrupt(_routes[link]);
}
