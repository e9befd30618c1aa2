package gateway

import (
	"net"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

func TestABrokerThatCannotListenSaysSo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	s, _ := lab(t, func(c *VCenter) { c.Broker = taken.Addr().String() })
	mode, problem := s.brokerState("lab")
	if mode != string(vcproxy.ModeOpen) || problem == nil || !strings.Contains(problem.Error(), "the broker does not listen") {
		t.Errorf("brokerState = %s, %v", mode, problem)
	}
	if err := s.brokerOf("lab").SetMode(t.Context(), vcproxy.ModeOff, "test"); err != nil {
		t.Fatal(err)
	}
	if mode, _ := s.brokerState("lab"); mode != string(vcproxy.ModeOff) {
		t.Errorf("after it was switched off the mode is %s", mode)
	}
	if mode, problem := s.brokerState("other"); mode != "" || problem != nil {
		t.Errorf("of one that is not there: %s, %v", mode, problem)
	}
}
