using System.Globalization;
using System.Text;
using System.Xml.Linq;
using Doppel.Vmm.Debugging;

namespace Doppel.Vmm.Tests.Debugging;

public sealed class GdbSessionTests
{
    private readonly FakeTarget _target = new();
    private readonly GdbSession _session;

    public GdbSessionTests() => _session = new GdbSession(_target);

    [Theory]
    [InlineData("")]
    [InlineData("!")]
    [InlineData("\u00ff\u0000")]
    [InlineData("qUnknown")]
    [InlineData("vMustReplyEmpty")]
    [InlineData("vFile:open:00,0,0")]
    [InlineData("Z9,0,1")]
    [InlineData("qXfer:auxv:read::0,1000")]
    public async Task What_is_unknown_gets_the_empty_reply(string packet) => Assert.Equal("", await AskAsync(packet));

    [Theory]
    [InlineData("m")]
    [InlineData("m1")]
    [InlineData("m,1")]
    [InlineData("mx,1")]
    [InlineData("m0,ffffffffffffffffff")]
    [InlineData("m0,10000000")]
    [InlineData("M0,2:00")]
    [InlineData("M0,1:0")]
    [InlineData("M0,1:zz")]
    [InlineData("X0,2:a")]
    [InlineData("p")]
    [InlineData("pffff")]
    [InlineData("P1")]
    [InlineData("P1=00")]
    [InlineData("Pffff=00")]
    [InlineData("Gxx")]
    [InlineData("H")]
    [InlineData("Hg9")]
    [InlineData("Hz1")]
    [InlineData("T9")]
    [InlineData("Z0")]
    [InlineData("Z0,")]
    [InlineData("Z0,x,1")]
    [InlineData("vCont;")]
    [InlineData("vCont;x")]
    [InlineData("vCont;c:9")]
    [InlineData("vCont;c:1:2")]
    [InlineData("cx")]
    [InlineData("qRcmd,0")]
    [InlineData("qXfer:features:read:target.xml:0")]
    [InlineData("Qqemu.sstep=x")]
    public async Task What_is_malformed_gets_an_error(string packet)
    {
        Assert.Equal("E01", await AskAsync(packet));
        Assert.Empty(_target.Log);
    }

    [Theory]
    [InlineData("vCont;c", "Continue,Continue")]
    [InlineData("vCont;s:2;c", "Continue,Step")]
    [InlineData("vCont;s:1", "Step,Hold")]
    [InlineData("vCont;C05:1;c:-1", "Continue,Continue")]
    [InlineData("vCont;s:1;s:2", "Step,Step")]
    [InlineData("c", "Continue,Continue")]
    [InlineData("C05", "Continue,Continue")]
    [InlineData("s", "Step,Continue")]
    [InlineData("S05;1000", "Step,Continue")]
    public async Task Each_vcpu_does_what_is_said_of_its_thread(string packet, string actions)
    {
        GdbReply reply = await _session.HandleAsync(packet);
        Assert.Null(reply.Payload);
        Assert.Equal(GdbNext.Running, reply.Next);
        Assert.Equal([actions], _target.Log);
    }

    [Fact]
    public async Task Breakpoints_of_every_kind_arrive()
    {
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal("OK", await AskAsync(string.Create(CultureInfo.InvariantCulture, $"Z{i},ffffffff81000000,4")));
            Assert.Equal("OK", await AskAsync(string.Create(CultureInfo.InvariantCulture, $"z{i},ffffffff81000000,4")));
        }

        Assert.Equal("E22", await AskAsync("Z2,0,0"));
        Assert.Equal("E22", await AskAsync("Z2,0,2000"));
        Assert.Equal(
            ["+Software:ffffffff81000000:1", "-Software:ffffffff81000000:1", "+Hardware:ffffffff81000000:1", "-Hardware:ffffffff81000000:1",
             "+Write:ffffffff81000000:4", "-Write:ffffffff81000000:4", "+Read:ffffffff81000000:4", "-Read:ffffffff81000000:4",
             "+Access:ffffffff81000000:4", "-Access:ffffffff81000000:4"],
            _target.Log);
    }

    [Fact]
    public async Task The_target_description_names_each_register_once_in_the_order_of_the_g_packet()
    {
        var text = new StringBuilder();
        string part;
        do
        {
            part = await AskAsync(string.Create(CultureInfo.InvariantCulture, $"qXfer:features:read:target.xml:{text.Length:x},300"));
            text.Append(part.AsSpan(1));
        }
        while (part[0] == 'm');
        Assert.Equal('l', part[0]);
        string xml = text.ToString();
        XElement root = XElement.Parse(xml[xml.IndexOf("<target>", StringComparison.Ordinal)..]);
        XElement[] registers = [.. root.Descendants("reg")];
        Assert.Equal(registers.Length, registers.Select(r => r.Attribute("name")!.Value).Distinct().Count());
        Assert.Equal(Enumerable.Range(0, registers.Length), registers.Select(r => (int)r.Attribute("regnum")!));
        Assert.Equal(registers.Sum(r => (int)r.Attribute("bitsize")!) / 4, (await AskAsync("g")).Length);
        string[] features = [.. root.Elements("feature").Select(f => f.Attribute("name")!.Value)];
        Assert.Equal(["org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.avx", "org.gnu.gdb.i386.segments", "org.doppel.x86.system"], features);
    }

    [Fact]
    public async Task Stop_replies_use_only_what_the_debugger_knows()
    {
        var stop = new Doppel.Machine.Cpu.Debugging.DebugStop(1, new(Doppel.Machine.Cpu.Debugging.BreakpointKind.Software, 0x1000, 1), 0x1000);
        Assert.StartsWith("T05thread:02;10:", _session.ReportStop(stop));
        _ = await AskAsync("qSupported:multiprocess+;swbreak+;hwbreak+");
        string reply = _session.ReportStop(stop);
        Assert.StartsWith("T05thread:02;swbreak:;10:", reply);
        Assert.Equal(reply, await AskAsync("?"));
        Assert.StartsWith("T02thread:02;10:", _session.ReportStop(null));
    }

    [Fact]
    public async Task Memory_is_answered_as_far_as_it_can_be_read()
    {
        Assert.Equal("OK", await AskAsync("X3c,4:ab}c".Replace("}", "\u007d", StringComparison.Ordinal)));
        Assert.Equal("61627d63", await AskAsync("m3c,10"));
        Assert.Equal("bab}c", await AskAsync("x3c,10"));
        Assert.Equal("E14", await AskAsync("m40,1"));
        Assert.Equal("E14", await AskAsync("M3e,4:00000000"));
    }

    [Fact]
    public async Task Monitor_commands_answer_every_line()
    {
        string[] lines = ["", "help", "info registers", "info cpus", "xp /4xb 0", "xp /0xb 0", "xp /x", "xp", "gva2gpa 0x10", "gva2gpa x", "sstep", "sstep off", "nonsense", "info"];
        foreach (string line in lines)
        {
            string reply = await AskAsync("qRcmd," + GdbPacket.ToHex(Encoding.UTF8.GetBytes(line)));
            Assert.True(GdbPacket.TryParseHex(reply, out byte[] text) && text.Length > 0 && text[^1] == '\n', $"\"{line}\": {reply}");
        }

        Assert.True(_target.StepsIntoInterrupts);
        Assert.Equal("0x1", await AskAsync("qqemu.sstep"));
        Assert.Equal("OK", await AskAsync("Qqemu.sstep=0x7"));
        Assert.False(_target.StepsIntoInterrupts);
    }

    [Fact]
    public async Task Random_packets_are_answered_or_resume_and_never_throw()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        string[] starts = ["m", "M", "X", "x", "Z0,", "Z2,", "z4,", "p", "P", "G", "H", "T", "vCont;", "qXfer:features:read:", "qRcmd,", "qSupported:", "Q", "q", "s", "C", "?", "D"];
        const string Characters = "0123456789abcdef,;:=+-.xcs?\u00ff\u0000}";
        for (int i = 0; i < 20000; i++)
        {
            string packet = starts[random.Next(starts.Length)];
            for (int n = random.Next(24); n > 0; n--)
                packet += Characters[random.Next(Characters.Length)];
            try
            {
                GdbReply reply = await _session.HandleAsync(packet);
                Assert.True(reply.Payload is not null || reply.Next is GdbNext.Running or GdbNext.Killed);
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}, packet \"{packet}\": {e}");
            }
        }
    }

    [Theory]
    [InlineData("tcp::1234", "127.0.0.1:1234", false)]
    [InlineData("tcp::1234,wait", "127.0.0.1:1234", true)]
    [InlineData("tcp:0.0.0.0:1", "0.0.0.0:1", false)]
    [InlineData("tcp:[::1]:1", "[::1]:1", false)]
    [InlineData("unix:/run/a,b,wait", "/run/a,b", true)]
    public void Addresses_are_read(string text, string address, bool wait)
    {
        GdbEndpoint endpoint = GdbEndpoint.Parse(text)!;
        Assert.Equal(address, endpoint.EndPoint.ToString());
        Assert.Equal(wait, endpoint.Wait);
    }

    [Theory]
    [InlineData("")]
    [InlineData("1234")]
    [InlineData("tcp:1234")]
    [InlineData("tcp::")]
    [InlineData("tcp::65536")]
    [InlineData("tcp::-1")]
    [InlineData("unix:")]
    [InlineData("udp::1")]
    public void Other_texts_are_no_addresses(string text) => Assert.Null(GdbEndpoint.Parse(text));

    private async Task<string> AskAsync(string packet) => (await _session.HandleAsync(packet)).Payload!;
}
